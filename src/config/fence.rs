//! What becomes of transactions whose snapshot is older than a swap.

/// What becomes of a transaction, at REPEATABLE READ or SERIALIZABLE, whose snapshot is older than a swap: the server itself would
/// show it the new table with a part of its rows or with none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fence {
    /// The cut-over waits until no such transaction is open, in whatever session; one that slips through is answered with 1412.
    Wait,
    /// It is answered with 1412 when it touches the table.
    #[default]
    Fence,
    /// Nothing: it sees what the server shows it.
    Off,
}

impl Fence {
    /// As it is written in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Fence => "fence",
            Self::Off => "off",
        }
    }

    /// Reads what [`Fence::name`] wrote, in any case.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Wait, Self::Fence, Self::Off].into_iter().find(|fence| fence.name().eq_ignore_ascii_case(name))
    }
}
