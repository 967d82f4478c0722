//! What a tracer is for.

/// What the tracer does with a call that stops for it. In every mode the judge
/// decides on what the filter leaves to it ([`ASK`](crate::ASK)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Nothing is told.
    Judge,
    /// Every call is told and goes on. The program carries
    /// [`Program::trace_all`](nucleus_seccomp::Program::trace_all) and nothing
    /// else: one stop a call.
    Record,
    /// Every call is told at its entry, before any filter, whatever filters the
    /// program carries, from its first `execve` on: three stops a call that is
    /// judged, else two.
    RecordEntries,
    /// A call is answered with the errno in the filter's data, without being
    /// made, and told as [`Action::Errno`](nucleus_seccomp::Action::Errno). The
    /// program carries a profile whose `Errno(e)` became `Trace(e)`. A SIGSYS
    /// by a filter and a kill by a filter are told, too.
    ///
    /// Only denied calls stop. So that no child goes unseen, the filter must
    /// leave `clone` with `CLONE_UNTRACED`, and `clone3`, to the judge: the
    /// tracer refuses such a child with EPERM, and says so. Without, what is
    /// denied to that child fails with ENOSYS, unseen.
    Deny,
    /// As `Deny`, but a call is only told as denied and then goes on, unless
    /// the answer is ENOSYS, which programs are made to fall back from: a run
    /// that shows all that a profile lacks, and does not end or hang at the
    /// first. Without denials it goes as under `Deny`.
    Rehearse,
}

impl Mode {
    pub(crate) const fn records(self) -> bool {
        matches!(self, Self::Record | Self::RecordEntries)
    }

    pub(crate) const fn denies(self) -> bool {
        matches!(self, Self::Deny | Self::Rehearse)
    }
}
