//! How many migrations copy at once; the others wait their turn, in the order in which they came.
//!
//! A place is held from Preparing to Ready: what comes after costs the server little, and may wait for an operator for days.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::progress::Board;
use super::runner::Surroundings;

/// Waits for a place, one for a whole group. `Some(None)` where none is needed: after the swap, or to undo what was cancelled. `None` where the proxy stops.
pub async fn take_place(around: &Surroundings, boards: &[Arc<Board>]) -> Option<Option<OwnedSemaphorePermit>> {
    let mut wishes = boards.first()?.wishes();
    let needs_none = |board: &Arc<Board>| board.swaps().0 > 0 || !board.status().phase.is_before_swap();
    if boards.iter().any(needs_none) || wishes.borrow().is_cancelled {
        return Some(None);
    }
    let set_note = |note: &str| boards.iter().for_each(|board| board.set_note(note));
    if let Ok(place) = around.places.clone().try_acquire_owned() {
        return Some(Some(place));
    }
    let most = around.config.migrations.at_once;
    set_note(&format!("waits its turn: {most} migrations copy already, which is [migrations] at_once"));
    let place = tokio::select! {
        place = around.places.clone().acquire_owned() => Some(place.ok()),
        () = async { drop(wishes.wait_for(|wishes| wishes.is_cancelled).await) } => Some(None),
        () = around.shutdown.cancelled() => None,
    };
    set_note("");
    place
}
