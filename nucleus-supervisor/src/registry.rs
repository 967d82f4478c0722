//! Handlers: who decides on which call.

use std::collections::BTreeMap;
use std::fmt;

use nucleus_seccomp::{Program, SeccompData, Syscall};
use rustix::io::Errno;

use crate::denial::Ear;
use crate::{Denied, Grounds, MemoryError, Refusal, Reply, Request, TrapError, Traps, When};

/// What a handler says to a request.
pub enum Decision {
    /// No objection: the next handler of the call decides. When there is none
    /// left, the kernel goes on with the call, on these grounds and those of
    /// the handlers before.
    Pass(Grounds),
    /// The answer, and no other handler is asked.
    Answer(Reply),
    /// The caller waits: the function takes the request and answers when it
    /// will, from whatever thread. A request that it drops is denied.
    Hold(Box<dyn FnOnce(Request) + Send>),
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass(grounds) => f.debug_tuple("Pass").field(grounds).finish(),
            Self::Answer(reply) => f.debug_tuple("Answer").field(reply).finish(),
            Self::Hold(_) => f.write_str("Hold"),
        }
    }
}

/// A handler could not decide; the call fails with the errno.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call could not be judged and fails with {0}")]
pub struct Failure(pub Errno);

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self(errno)
    }
}

impl From<MemoryError> for Failure {
    /// With what the kernel would say of the argument: what cannot be read
    /// where a rule could apply never passes.
    fn from(error: MemoryError) -> Self {
        Self(error.errno())
    }
}

/// Decides on calls.
///
/// A closure is one that may wait; [`AtOnce`] makes one of it that does not.
pub trait Handler: Send + Sync {
    /// Whether [`handle`](Self::handle) may wait for anything but the CPU: for a
    /// peer, a disk, a lock that is held while somebody waits. It then runs on a
    /// thread of the pool; else on the one that receives, which saves half of
    /// the time, and where a wait would hold up every other request.
    fn may_wait(&self, request: &Request) -> bool {
        let _unused: &Request = request;
        true
    }

    /// Decides.
    ///
    /// # Errors
    ///
    /// What the call fails with where no decision can be reached.
    fn handle(&self, request: &Request) -> Result<Decision, Failure>;
}

impl<F> Handler for F
where
    F: Fn(&Request) -> Result<Decision, Failure> + Send + Sync,
{
    fn handle(&self, request: &Request) -> Result<Decision, Failure> {
        self(request)
    }
}

/// A handler that never waits, such as one that looks at nothing but registers:
/// the thread that receives answers in its name.
#[derive(Debug, Clone, Copy)]
pub struct AtOnce<H>(pub H);

impl<H: Handler> Handler for AtOnce<H> {
    fn may_wait(&self, _request: &Request) -> bool {
        false
    }

    fn handle(&self, request: &Request) -> Result<Decision, Failure> {
        self.0.handle(request)
    }
}

struct Entry {
    when: When,
    handler: Box<dyn Handler>,
}

/// The handlers of every call, asked in the order in which they were added.
///
/// ```
/// use nucleus_seccomp::{Arch, Syscall};
/// use nucleus_supervisor::{AtOnce, Decision, Errno, Registry, Reply, Request, When};
///
/// let mut registry = Registry::new();
/// let connect = Syscall::by_name(Arch::X86_64, "connect").expect("in the table");
/// let deny = |_: &Request| Ok(Decision::Answer(Reply::Errno(Errno::NETUNREACH)));
/// registry.add(connect, When::Always, AtOnce(deny))?;
/// assert!(registry.program()?.insns().len() < 10);
/// # Ok::<(), nucleus_supervisor::TrapError>(())
/// ```
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<Syscall, Vec<Entry>>,
    traps: Traps,
    ahead: Option<Ahead>,
    ear: Ear,
}

/// Who is asked before all handlers.
struct Ahead {
    concerns: Box<dyn Fn(&SeccompData) -> bool + Send + Sync>,
    answer: Box<dyn Fn(&Request) -> Reply + Send + Sync>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("traps", &self.traps)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Without handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler for a call, behind those that it has.
    ///
    /// It is asked only where `when` holds, whatever else traps the call.
    ///
    /// # Errors
    ///
    /// A test of an argument that no call has.
    pub fn add(
        &mut self,
        call: Syscall,
        when: When,
        handler: impl Handler + 'static,
    ) -> Result<(), TrapError> {
        self.traps.add(call, when.clone())?;
        self.entries.entry(call).or_default().push(Entry {
            when,
            handler: Box::new(handler),
        });
        Ok(())
    }

    /// Lets the filter itself refuse a call, before any handler is asked.
    ///
    /// # Errors
    ///
    /// A test of an argument that no call has.
    pub fn refuse(&mut self, call: Syscall, refusal: Refusal) -> Result<(), TrapError> {
        self.traps.refuse(call, refusal)
    }

    /// Asks `answer` in place of all handlers about those of the calls left to
    /// the listener, by whatever filter, that `concerns` picks out, which looks
    /// at the registers and never waits. The answer may.
    pub fn ahead(
        &mut self,
        concerns: impl Fn(&SeccompData) -> bool + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) {
        self.ahead = Some(Ahead {
            concerns: Box::new(concerns),
            answer: Box::new(answer),
        });
    }

    /// Tells `hears` of each call that was denied [for a
    /// reason](Request::denied_because), before its caller goes on. It may wait.
    pub fn on_denial(&mut self, hears: impl Fn(&Denied<'_>) + Send + Sync + 'static) {
        self.ear.lend(hears);
    }

    /// For who denies something that is no call.
    pub(crate) fn ear(&self) -> Ear {
        self.ear.clone()
    }

    /// Whether somebody hears of it if the request is denied now.
    pub(crate) fn will_be_told(&self, request: &Request) -> bool {
        self.ear.hears() && request.denial().is_some()
    }

    pub(crate) fn tell_denied(&self, request: &Request, reply: &Reply) {
        let Some(denial) = request.denial() else {
            return;
        };
        let errno = match reply {
            Reply::Errno(errno) => Some(*errno),
            Reply::Kill => None,
            _ => return,
        };
        let thread = request.thread().cast_unsigned();
        let call = Some(*request.data());
        self.ear.hear(Some(thread), call, errno, || denial.clone());
    }

    /// What is trapped for these handlers.
    #[must_use]
    pub const fn traps(&self) -> &Traps {
        &self.traps
    }

    /// The filter that traps for these handlers and allows all else.
    ///
    /// # Errors
    ///
    /// It would be longer than the kernel takes.
    pub fn program(&self) -> Result<Program, TrapError> {
        self.traps.program()
    }

    /// Whether somebody who decides on the request may wait.
    pub(crate) fn may_wait(&self, request: &Request) -> bool {
        self.is_ahead(request).is_some()
            || self
                .concerned(request)
                .any(|entry| entry.handler.may_wait(request))
    }

    fn is_ahead(&self, request: &Request) -> Option<&Ahead> {
        let ahead = self.ahead.as_ref()?;
        (ahead.concerns)(request.data()).then_some(ahead)
    }

    /// Asks whoever is ahead, then the handlers. A call that is trapped for none of them (a profile
    /// can name calls for a listener) fails with ENOSYS, as without a listener.
    pub(crate) fn decide(&self, request: &Request) -> Result<Decision, Failure> {
        if let Some(ahead) = self.is_ahead(request) {
            return Ok(Decision::Answer((ahead.answer)(request)));
        }
        let mut grounds = None;
        for entry in self.concerned(request) {
            match entry.handler.handle(request)? {
                Decision::Pass(more) => {
                    grounds = match (grounds, more) {
                        (Some(Grounds::NothingSensitive(why)), Grounds::RegistersAlone) => {
                            Some(Grounds::NothingSensitive(why))
                        }
                        _ => Some(more),
                    };
                }
                decision => return Ok(decision),
            }
        }
        grounds
            .map(|grounds| Decision::Answer(Reply::Continue(grounds)))
            .ok_or(Failure(Errno::NOSYS))
    }

    fn concerned<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = &'a Entry> {
        request
            .call()
            .and_then(|call| self.entries.get(&call))
            .into_iter()
            .flatten()
            .filter(|entry| entry.when.holds(request.data()))
    }
}
