//! The phases of a migration and the only ways between them. Pure.
//!
//! ```text
//! Queued → Preparing → Copying → CatchingUp → Verifying → Ready → CuttingOver → CleaningUp → Done
//!                                    ▲            │         ▲          │  │
//!                                    └────────────┘         └──────────┘  └─▶ Ambiguous → (Ready | CleaningUp)
//! any working phase → Parked{from} → (retry) that phase      any phase before the swap → Undoing → Cancelled | Failed
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
    /// Set by: the swap, where the retired table is kept for a while.
    Reversible,
    /// Set by: the swap. Drops the retired table.
    CleaningUp,
    /// The end: swapped and clean.
    Done,
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
            Self::CleaningUp => "cleaning_up",
            Self::Done => "done",
            Self::Parked => "parked",
            Self::Undoing => "undoing",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }
}
