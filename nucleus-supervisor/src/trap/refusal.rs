//! Denials by the filter itself.

use nucleus_seccomp::{Action, Insn, SeccompData};
use rustix::io::Errno;

use super::When;
use super::emit::{emit_list, skip};

/// A denial that needs nobody's judgement: the filter itself answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// These fail with this errno.
    Of(When, Errno),
    /// All but these fail with this errno.
    AllBut(When, Errno),
}

impl Refusal {
    pub(super) const fn when(&self) -> &When {
        match self {
            Self::Of(when, _) | Self::AllBut(when, _) => when,
        }
    }

    /// The answer to a call that is refused.
    fn action(&self) -> Action {
        let (Self::Of(_, errno) | Self::AllBut(_, errno)) = self;
        // An errno is below 4096.
        Action::Errno(u16::try_from(errno.raw_os_error()).unwrap_or(u16::MAX))
    }

    pub(super) fn answer(&self, data: &SeccompData) -> Option<Action> {
        let refused = match self {
            Self::Of(when, _) => when.holds(data),
            Self::AllBut(when, _) => !when.holds(data),
        };
        refused.then(|| self.action())
    }

    /// Falls through where the call is not refused.
    pub(super) fn emit(&self, out: &mut Vec<Insn>) {
        let refuse = Insn::ret(self.action());
        match self {
            Self::Of(When::Always, _) => out.push(refuse),
            Self::AllBut(When::Always, _) => {}
            Self::Of(When::Any(lists), _) => {
                for list in lists {
                    emit_list(list, out, refuse);
                }
            }
            Self::AllBut(When::Any(lists), _) => {
                // Backwards, so that each list knows how far the end is.
                let mut rest = vec![refuse];
                for list in lists.iter().rev() {
                    let mut one = Vec::new();
                    emit_list(list, &mut one, skip(rest.len()));
                    one.append(&mut rest);
                    rest = one;
                }
                out.append(&mut rest);
            }
        }
    }
}
