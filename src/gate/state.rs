//! The states of a gate and the only ways between them. Pure.
//!
//! ```text
//!          hold              drained
//!   Open ───────▶ Draining ─────────▶ Held
//!    ▲               │                  │
//!    └── released, expired ─────────────┘
//! ```

/// What a gate does with newcomers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Everybody goes through. Set by: the start, and the end of every hold.
    Open,
    /// Whoever is inside a transaction goes through, newcomers wait. Set by: a migration's hold. Waits for: nobody inside.
    Draining,
    /// Nobody goes through. Set by: the last one's leaving. Waits for: the swap, or the end of the attempt.
    Held,
}

/// What can happen to a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A migration wishes that nobody new enters.
    HoldWished,
    /// Nobody is inside any more.
    Drained,
    /// The hold was given back.
    Released,
    /// The hold outlived its deadline.
    Expired,
}

/// The event does not fit the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a gate that is {state:?} does not take {event:?}")]
pub struct Refused {
    /// The state it was in, and stays in.
    pub state: State,
    /// What was refused.
    pub event: Event,
}

impl State {
    /// The state after an event.
    ///
    /// # Errors
    /// [`Refused`] where the drawing has no such arrow.
    pub fn next(self, event: Event) -> Result<Self, Refused> {
        match (self, event) {
            (Self::Open, Event::HoldWished) => Ok(Self::Draining),
            (Self::Draining, Event::Drained) => Ok(Self::Held),
            // I-0: opening is safe at every moment, so it is allowed from everywhere.
            (_, Event::Released | Event::Expired) => Ok(Self::Open),
            (state, event) => Err(Refused { state, event }),
        }
    }

    /// The name in SHOW GATES.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Draining => "draining",
            Self::Held => "held",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        use Event::*;
        use State::*;
        let expected = [
            (Open, HoldWished, Some(Draining)),
            (Open, Drained, None),
            (Open, Released, Some(Open)),
            (Open, Expired, Some(Open)),
            (Draining, HoldWished, None),
            (Draining, Drained, Some(Held)),
            (Draining, Released, Some(Open)),
            (Draining, Expired, Some(Open)),
            (Held, HoldWished, None),
            (Held, Drained, None),
            (Held, Released, Some(Open)),
            (Held, Expired, Some(Open)),
        ];
        for (state, event, wanted) in expected {
            let got = state.next(event);
            println!("{state:?} + {event:?} -> {got:?}");
            assert_eq!(got.ok(), wanted, "{state:?} + {event:?}");
        }
    }
}
