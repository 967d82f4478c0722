//! How much of what happened a stream of events holds.

/// The verdict at the end of every stream of events: nothing is lost silently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    /// Every event was seen; the source can prove it.
    Complete,
    /// Events are missing, or may be.
    Incomplete {
        /// How many, where the source can count them.
        lost: Option<u64>,
        /// What happened, one sentence each; never empty.
        why: Vec<String>,
    },
}

impl Completeness {
    /// Whether nothing is missing.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        matches!(self, Self::Complete)
    }

    /// Adds a reason and what was lost by it; an unknown number stays unknown.
    pub fn lose(&mut self, lost_now: Option<u64>, reason: impl Into<String>) {
        match self {
            Self::Complete => {
                *self = Self::Incomplete {
                    lost: lost_now,
                    why: vec![reason.into()],
                };
            }
            Self::Incomplete { lost, why } => {
                *lost = lost.zip(lost_now).map(|(a, b)| a.saturating_add(b));
                why.push(reason.into());
            }
        }
    }
}
