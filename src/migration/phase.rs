//! The phases of a migration and the only ways between them. Pure.
//!
//! ```text
//! Queued → Preparing → Copying → CatchingUp → Verifying → Ready → CuttingOver ──────────▶ Reversible → CleaningUp → Done
//!              ▲          ▲                                 ▲          │  │                   ▲             ▲
//!              │          │                                 └──────────┘  ▼                   │
//!              └── taken over by a new process ──┘          ▲        Ambiguous ───────────────┘
//!                                                           └─────────────┘
//! any phase before the swap → Parked → Preparing           any phase before the swap → Undoing → Cancelled | Failed
//!
//! Reversible → Reverting → SwappingBack → Reversible, with the other table under the name   CleaningUp → Done | Reverted
//!     ▲            │ ▲            │
//!     └────────────┘ └────────────┘
//!
//! In place:  Preparing → Ready → CuttingOver ⇄ Ambiguous, and from either → CleaningUp → Done; Ambiguous → Undoing where the table is a third one
//! ```

/// Where a migration is. Stored with every change; a proxy that takes over goes on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Set by: MIGRATE. Waits for: another migration of the same table, or a free place.
    Queued,
    /// Set by: the runner. Creates the shadow and takes the binlog position.
    Preparing,
    /// Set by: the runner, once the tail runs.
    Copying,
    /// Set by: the last chunk. Waits for: the tail to be near the server.
    CatchingUp,
    /// Set by: the tail being near. Compares both tables.
    Verifying,
    /// Set by: the comparison. Waits for: CUTOVER where postponed, else the right moment.
    Ready,
    /// Set by: an attempt's beginning.
    CuttingOver,
    /// Set by: a swap whose answer was lost. Only reading the server leads out.
    Ambiguous,
    /// Set by: a swap, in either direction. The table that lost the name follows the other one until the revert window ends.
    Reversible,
    /// Set by: REVERT. Waits for the moment to swap back.
    Reverting,
    /// Set by: an attempt to swap back. While its end is not known only reading the server leads out.
    SwappingBack,
    /// Set by: the window's end, or CLEANUP. Drops the table that lost the name.
    CleaningUp,
    /// The end: swapped and clean.
    Done,
    /// The end: swapped, swapped back, and clean.
    Reverted,
    /// Set by: an error that a person must mend. Waits for: RESUME or CANCEL.
    Parked,
    /// Set by: CANCEL, or a refusal of the server. Drops the shadow.
    Undoing,
    /// The end: undone by the operator.
    Cancelled,
    /// The end: the server would have refused the ALTER too, or the table changed under the migration.
    Failed,
}

impl Phase {
    /// The name in SHOW MIGRATIONS, in the store and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Copying => "copying",
            Self::CatchingUp => "catching_up",
            Self::Verifying => "verifying",
            Self::Ready => "ready",
            Self::CuttingOver => "cutting_over",
            Self::Ambiguous => "ambiguous",
            Self::Reversible => "reversible",
            Self::Reverting => "reverting",
            Self::SwappingBack => "swapping_back",
            Self::CleaningUp => "cleaning_up",
            Self::Done => "done",
            Self::Reverted => "reverted",
            Self::Parked => "parked",
            Self::Undoing => "undoing",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// All phases, in the order of a migration that goes well; then the others.
    pub const ALL: [Self; 18] = [
        Self::Queued,
        Self::Preparing,
        Self::Copying,
        Self::CatchingUp,
        Self::Verifying,
        Self::Ready,
        Self::CuttingOver,
        Self::Ambiguous,
        Self::Reversible,
        Self::Reverting,
        Self::SwappingBack,
        Self::CleaningUp,
        Self::Done,
        Self::Reverted,
        Self::Parked,
        Self::Undoing,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The phase of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// The shadow may exist and the source is still the table: the migration can be undone without a trace.
    pub fn is_before_swap(self) -> bool {
        matches!(
            self,
            Self::Queued
                | Self::Preparing
                | Self::Copying
                | Self::CatchingUp
                | Self::Verifying
                | Self::Ready
                | Self::Parked
                | Self::Undoing
        )
    }

    /// The phase after an event.
    ///
    /// # Errors
    /// [`Refused`] where the drawing has no such arrow.
    pub fn next(self, event: Event) -> Result<Self, Refused> {
        use Event as E;
        let next = match (self, event) {
            (Self::Queued, E::Started) | (Self::Parked, E::Resumed) => Self::Preparing,
            (Self::Preparing, E::ShadowReady) => Self::Copying,
            // A process that takes over, or a connection that comes back: go on from the checkpoint.
            (Self::Preparing | Self::Copying | Self::CatchingUp | Self::Verifying | Self::Ready, E::Restarted) => Self::Preparing,
            (Self::Preparing, E::Proven) => Self::Ready,
            (Self::Copying, E::Copied) => Self::CatchingUp,
            (Self::CatchingUp, E::CaughtUp) => Self::Verifying,
            (Self::Verifying, E::Verified) => Self::Ready,
            (Self::Ready, E::AttemptBegun) => Self::CuttingOver,
            (Self::CuttingOver | Self::Ambiguous, E::NotSwapped) => Self::Ready,
            (Self::CuttingOver | Self::Ambiguous, E::Restarted) | (Self::CuttingOver, E::SwapUnknown) => Self::Ambiguous,
            (Self::CuttingOver | Self::Ambiguous, E::Swapped) => Self::Reversible,
            (Self::Ambiguous, E::FoundChanged) => Self::Undoing,
            (Self::Reversible, E::WindowOver) | (Self::CuttingOver | Self::Ambiguous, E::Altered) => Self::CleaningUp,
            (Self::Reversible, E::RevertWished) | (Self::SwappingBack, E::NotSwapped) => Self::Reverting,
            (Self::Reverting, E::AttemptBegun) => Self::SwappingBack,
            (Self::Reverting, E::RevertGivenUp) | (Self::SwappingBack, E::Swapped) => Self::Reversible,
            (Self::SwappingBack, E::SwapUnknown) => Self::SwappingBack,
            (Self::CleaningUp, E::Cleaned) => Self::Done,
            (Self::CleaningUp, E::CleanedAfterRevert) => Self::Reverted,
            (Self::Reversible | Self::Reverting | Self::SwappingBack | Self::CleaningUp | Self::Undoing, E::Restarted) => self,
            (phase, E::Stuck) if phase.is_before_swap() && phase != Self::Undoing => Self::Parked,
            (phase, E::Abandoned) if phase.is_before_swap() => Self::Undoing,
            (Self::Undoing, E::UndoneForOperator) => Self::Cancelled,
            (Self::Undoing, E::UndoneAfterRefusal) => Self::Failed,
            (phase, event) => return Err(Refused { phase, event }),
        };
        Ok(next)
    }

    /// Nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Reverted | Self::Cancelled | Self::Failed)
    }
}

/// What can happen to a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its turn has come.
    Started,
    /// The shadow stands, or an earlier process's shadow was found.
    ShadowReady,
    /// The server has altered an empty copy by changing its dictionary.
    Proven,
    /// The last chunk is in the shadow.
    Copied,
    /// The tail is near the server and few keys are pending.
    CaughtUp,
    /// Both tables were compared.
    Verified,
    /// A cut-over attempt begins.
    AttemptBegun,
    /// The attempt was called off, or reading the server showed that the swap did not happen.
    NotSwapped,
    /// The swap's answer was lost.
    SwapUnknown,
    /// The answer to an ALTER in place was lost, and reading showed what neither the old nor the new table is.
    FoundChanged,
    /// The shadow is the table.
    Swapped,
    /// The server has altered the table in place.
    Altered,
    /// The retired table is no longer wanted.
    WindowOver,
    /// The operator said REVERT.
    RevertWished,
    /// The operator took REVERT back, or the other table cannot follow.
    RevertGivenUp,
    /// The retired table is gone.
    Cleaned,
    /// The table that the migration had built is gone; the one before has its name again.
    CleanedAfterRevert,
    /// A process or a connection died; the migration goes on from its checkpoint.
    Restarted,
    /// Something that a person must mend.
    Stuck,
    /// The operator said RESUME.
    Resumed,
    /// The operator said CANCEL, or the server refused.
    Abandoned,
    /// Undone, as the operator wished.
    UndoneForOperator,
    /// Undone, because the server would have refused the ALTER too.
    UndoneAfterRefusal,
}

impl Event {
    /// All events, for the test of the table.
    pub const ALL: [Self; 23] = [
        Self::Started,
        Self::ShadowReady,
        Self::Proven,
        Self::Copied,
        Self::CaughtUp,
        Self::Verified,
        Self::AttemptBegun,
        Self::NotSwapped,
        Self::SwapUnknown,
        Self::FoundChanged,
        Self::Swapped,
        Self::Altered,
        Self::WindowOver,
        Self::RevertWished,
        Self::RevertGivenUp,
        Self::Cleaned,
        Self::CleanedAfterRevert,
        Self::Restarted,
        Self::Stuck,
        Self::Resumed,
        Self::Abandoned,
        Self::UndoneForOperator,
        Self::UndoneAfterRefusal,
    ];
}

/// The event does not fit the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a migration in phase {} does not take {event:?}", .phase.name())]
pub struct Refused {
    /// The phase it was in, and stays in.
    pub phase: Phase,
    /// What was refused.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every arrow of the drawing; whatever is not here must be refused.
    const ARROWS: &[(Phase, Event, Phase)] = &[
        (Phase::Queued, Event::Started, Phase::Preparing),
        (Phase::Queued, Event::Stuck, Phase::Parked),
        (Phase::Queued, Event::Abandoned, Phase::Undoing),
        (Phase::Preparing, Event::ShadowReady, Phase::Copying),
        (Phase::Preparing, Event::Proven, Phase::Ready),
        (Phase::Preparing, Event::Restarted, Phase::Preparing),
        (Phase::Preparing, Event::Stuck, Phase::Parked),
        (Phase::Preparing, Event::Abandoned, Phase::Undoing),
        (Phase::Copying, Event::Copied, Phase::CatchingUp),
        (Phase::Copying, Event::Restarted, Phase::Preparing),
        (Phase::Copying, Event::Stuck, Phase::Parked),
        (Phase::Copying, Event::Abandoned, Phase::Undoing),
        (Phase::CatchingUp, Event::CaughtUp, Phase::Verifying),
        (Phase::CatchingUp, Event::Restarted, Phase::Preparing),
        (Phase::CatchingUp, Event::Stuck, Phase::Parked),
        (Phase::CatchingUp, Event::Abandoned, Phase::Undoing),
        (Phase::Verifying, Event::Verified, Phase::Ready),
        (Phase::Verifying, Event::Restarted, Phase::Preparing),
        (Phase::Verifying, Event::Stuck, Phase::Parked),
        (Phase::Verifying, Event::Abandoned, Phase::Undoing),
        (Phase::Ready, Event::AttemptBegun, Phase::CuttingOver),
        (Phase::Ready, Event::Restarted, Phase::Preparing),
        (Phase::Ready, Event::Stuck, Phase::Parked),
        (Phase::Ready, Event::Abandoned, Phase::Undoing),
        (Phase::CuttingOver, Event::NotSwapped, Phase::Ready),
        (Phase::CuttingOver, Event::SwapUnknown, Phase::Ambiguous),
        (Phase::CuttingOver, Event::Restarted, Phase::Ambiguous),
        (Phase::CuttingOver, Event::Swapped, Phase::Reversible),
        (Phase::CuttingOver, Event::Altered, Phase::CleaningUp),
        (Phase::Ambiguous, Event::NotSwapped, Phase::Ready),
        (Phase::Ambiguous, Event::FoundChanged, Phase::Undoing),
        (Phase::Ambiguous, Event::Restarted, Phase::Ambiguous),
        (Phase::Ambiguous, Event::Swapped, Phase::Reversible),
        (Phase::Ambiguous, Event::Altered, Phase::CleaningUp),
        (Phase::Reversible, Event::WindowOver, Phase::CleaningUp),
        (Phase::Reversible, Event::Restarted, Phase::Reversible),
        (Phase::Reversible, Event::RevertWished, Phase::Reverting),
        (Phase::Reverting, Event::AttemptBegun, Phase::SwappingBack),
        (Phase::Reverting, Event::RevertGivenUp, Phase::Reversible),
        (Phase::Reverting, Event::Restarted, Phase::Reverting),
        (Phase::SwappingBack, Event::NotSwapped, Phase::Reverting),
        (Phase::SwappingBack, Event::SwapUnknown, Phase::SwappingBack),
        (Phase::SwappingBack, Event::Restarted, Phase::SwappingBack),
        (Phase::SwappingBack, Event::Swapped, Phase::Reversible),
        (Phase::CleaningUp, Event::Cleaned, Phase::Done),
        (Phase::CleaningUp, Event::CleanedAfterRevert, Phase::Reverted),
        (Phase::CleaningUp, Event::Restarted, Phase::CleaningUp),
        (Phase::Parked, Event::Resumed, Phase::Preparing),
        (Phase::Parked, Event::Stuck, Phase::Parked),
        (Phase::Parked, Event::Abandoned, Phase::Undoing),
        (Phase::Undoing, Event::Restarted, Phase::Undoing),
        (Phase::Undoing, Event::Abandoned, Phase::Undoing),
        (Phase::Undoing, Event::UndoneForOperator, Phase::Cancelled),
        (Phase::Undoing, Event::UndoneAfterRefusal, Phase::Failed),
    ];

    #[test]
    fn the_whole_table() {
        for phase in Phase::ALL {
            for event in Event::ALL {
                let expected = ARROWS.iter().find(|(from, on, _)| (*from, *on) == (phase, event)).map(|(_, _, to)| *to);
                let got = phase.next(event).ok();
                if let Some(to) = got {
                    println!("{:<12} + {event:?} -> {}", phase.name(), to.name());
                }
                assert_eq!(got, expected, "{} + {event:?}", phase.name());
            }
        }
    }

    #[test]
    fn names_lead_back_to_phases() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_name(phase.name()), Some(phase));
        }
    }
}
