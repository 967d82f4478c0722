//! Whoever is asked.

use std::ffi::OsString;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::desk::Desk;
use super::program::{Running, Tell};
use super::{Context, Event, Verdict};
use crate::Error;

const CLOCK: &str = "nucleus-patience";
const CALLBACK: &str = "nucleus-callback";

/// How soon it is seen that a caller waits no more.
const LOOK: Duration = Duration::from_millis(50);

/// A function or a program that is asked about what the rules have let pass. A
/// clone is the same one.
///
/// It can only deny more: a denial of the rules stands. Nobody waits for a
/// verdict longer than the patience that is given; without one in time, or
/// after a panic, the answer is a denial with EACCES.
#[derive(Debug, Clone)]
pub struct Arbiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    desk: Arc<Desk>,
    context: Context,
    program: Option<Program>,
}

/// A program that is started later.
struct Program {
    command: Vec<OsString>,
    tell: Tell,
    running: Mutex<Option<Running>>,
}

impl Program {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        // It is there or it is not.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("command", &self.command)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl Arbiter {
    /// Asks a function, on a thread of its own, one event after the other. By
    /// the context it can take more away.
    ///
    /// ```
    /// use std::time::Duration;
    /// use nucleus_supervisor::callback::{Arbiter, Category, Verdict};
    ///
    /// let patience = Duration::from_secs(1);
    /// let arbiter = Arbiter::function(patience, |event, _context| {
    ///     match (event.category, event.port) {
    ///         (Category::Network, Some(443)) => Verdict::Allow,
    ///         (Category::Exec, _) => Verdict::Audit,
    ///         _ => Verdict::DENY,
    ///     }
    /// })?;
    /// # arbiter.end();
    /// # Ok::<(), nucleus_supervisor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub fn function(
        patience: Duration,
        mut function: impl FnMut(&Event, &Context) -> Verdict + Send + 'static,
    ) -> Result<Self, Error> {
        let desk = Arc::new(Desk::new(patience));
        let context = Context::default();
        let (asked, own) = (Arc::clone(&desk), context.clone());
        start(CALLBACK, move || {
            while let Some((id, event)) = asked.take() {
                // What it has left half done is its own.
                let verdict = catch_unwind(AssertUnwindSafe(|| function(&event, &own)));
                // Nobody may wait for it any more.
                let _known: bool = asked.reply(id, verdict.unwrap_or(Verdict::DENY));
            }
        })?;
        Self::with(desk, context, None)
    }

    /// Asks a program: it reads events from its standard input and writes
    /// verdicts to its standard output, a line of JSON each. Its standard error
    /// is this process's. It runs as this process does, and ends with it. It is
    /// started by [`begin`](Self::begin).
    ///
    /// `tell` is called with a sentence when it ends early, after which all is
    /// denied, and when it says what is no verdict or asks for a change of the
    /// [context](Self::context) that cannot be.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub fn program(
        command: Vec<OsString>,
        patience: Duration,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let desk = Arc::new(Desk::new(patience));
        let program = Program {
            command,
            tell: Arc::new(tell),
            running: Mutex::default(),
        };
        Self::with(desk, Context::default(), Some(program))
    }

    /// Starts the program, if it is one and does not run yet. What it is asked
    /// before waits for it.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn begin(&self) -> Result<(), Error> {
        let Some(program) = &self.0.program else {
            return Ok(());
        };
        let mut running = program.running();
        if running.is_none() {
            let (desk, tell) = (Arc::clone(&self.0.desk), Arc::clone(&program.tell));
            let context = self.0.context.clone();
            let command = program.command.clone();
            *running = Some(Running::start(command, desk, context, tell)?);
        }
        Ok(())
    }

    fn with(desk: Arc<Desk>, context: Context, program: Option<Program>) -> Result<Self, Error> {
        let clock = Arc::clone(&desk);
        let arbiter = Self(Arc::new(Inner {
            desk,
            context,
            program,
        }));
        start(CLOCK, move || clock.keep_time())?;
        Ok(arbiter)
    }

    /// What it can take away while the program runs.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.0.context
    }

    /// Asks, and goes on: `answer` is called once, from some thread.
    pub fn ask(&self, event: Event, answer: impl FnOnce(Verdict) + Send + 'static) {
        self.0.desk.ask(event, Box::new(answer));
    }

    /// Asks, and waits for the verdict; `None` when `is_wanted` says that it is
    /// of no use any more.
    pub fn ask_and_wait(&self, event: Event, is_wanted: impl Fn() -> bool) -> Option<Verdict> {
        let (send, receive) = sync_channel(1);
        self.ask(event, move |verdict| {
            // Nobody waits for it any more.
            let _heard: Result<(), _> = send.send(verdict);
        });
        loop {
            match receive.recv_timeout(LOOK) {
                Ok(verdict) => return Some(verdict),
                Err(RecvTimeoutError::Timeout) if is_wanted() => {}
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(Verdict::DENY),
            }
        }
    }

    /// Tells of an event that the rules have denied.
    pub fn tell_denied(&self, event: Event) {
        self.0.desk.tell(Event {
            denied: true,
            ..event
        });
    }

    /// What it has denied, and what was to be audited: a sentence each.
    #[must_use]
    pub fn report(&self) -> Vec<String> {
        self.0.desk.report()
    }

    /// Ends it: whatever it would be asked is denied. A program has a second to
    /// end by itself.
    pub fn end(&self) {
        self.0.end();
    }
}

impl Inner {
    fn end(&self) {
        let _first: bool = self.desk.close();
        let Some(program) = &self.program else {
            return;
        };
        if let Some(running) = program.running().as_ref() {
            running.wait();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

fn start(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|source| Error::Thread { name, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errno;
    use crate::callback::Category;
    use std::sync::mpsc::channel;

    const LONG: Duration = Duration::from_secs(60);

    fn event(call: &'static str) -> Event {
        Event::new(call, Category::Network, 0)
    }

    fn ask(arbiter: &Arbiter, call: &'static str) -> Option<Verdict> {
        arbiter.ask_and_wait(event(call), || true)
    }

    #[test]
    fn a_function_that_panics_denies_and_is_asked_again() {
        let arbiter = Arbiter::function(LONG, |event, _context| {
            assert_ne!(event.call, "bind", "a test of panics");
            Verdict::Audit
        });
        let arbiter = arbiter.expect("a thread");
        assert_eq!(ask(&arbiter, "bind"), Some(Verdict::DENY));
        assert_eq!(ask(&arbiter, "connect"), Some(Verdict::Audit));
        let expected = ["to be audited: connect", "denied by the policy: bind"];
        assert_eq!(arbiter.report(), expected);
        arbiter.end();
        assert_eq!(ask(&arbiter, "connect"), Some(Verdict::DENY));
    }

    #[test]
    fn a_function_that_hangs_is_not_waited_for() {
        let hung = |patience| {
            let (keep, wait) = channel::<()>();
            let arbiter = Arbiter::function(patience, move |_event, _context| {
                // Until the test is over.
                let _never = wait.recv();
                Verdict::Allow
            });
            (arbiter.expect("a thread"), keep)
        };
        let (short, _kept) = hung(Duration::from_millis(20));
        assert_eq!(ask(&short, "connect"), Some(Verdict::DENY));
        let (long, _kept) = hung(LONG);
        assert_eq!(long.ask_and_wait(event("connect"), || false), None);
    }

    /// A policy that a shell plays.
    fn program(script: &str, patience: Duration) -> (Arbiter, std::sync::mpsc::Receiver<String>) {
        let (said, told) = channel();
        let command = ["sh", "-c", script].map(OsString::from).to_vec();
        let tell = move |sentence: &str| said.send(sentence.to_owned()).expect("heard");
        let arbiter = Arbiter::program(command, patience, tell).expect("threads");
        arbiter.begin().expect("a shell");
        (arbiter, told)
    }

    #[test]
    fn a_program_answers_and_ends_with_its_input() {
        let script = r#"
            while read -r line; do
                id=${line#*:}; id=${id%%,*}
                case $line in
                    *bind*) echo "{\"id\":$id,\"verdict\":\"deny\",\"errno\":\"EPERM\"}";;
                    *) echo "{\"id\":$id,\"verdict\":\"allow\"}";;
                esac
            done"#;
        let (arbiter, told) = program(script, LONG);
        assert_eq!(ask(&arbiter, "bind"), Some(Verdict::Deny(Errno::PERM)));
        assert_eq!(ask(&arbiter, "connect"), Some(Verdict::Allow));
        arbiter.end();
        assert!(told.try_recv().is_err(), "its end is no news");
    }

    #[test]
    fn a_program_that_dies_denies_all_and_that_is_said_once() {
        let (arbiter, told) = program("read -r line; exit 3", LONG);
        assert_eq!(ask(&arbiter, "connect"), Some(Verdict::DENY));
        assert_eq!(ask(&arbiter, "connect"), Some(Verdict::DENY));
        arbiter.end();
        let said: Vec<String> = told.try_iter().collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("exit status: 3"), "{said:?}");
    }

    #[test]
    fn what_a_program_cannot_mean_is_a_denial() {
        let (arbiter, told) = program("while read -r line; do echo yes; done", LONG);
        assert_eq!(ask(&arbiter, "connect"), Some(Verdict::DENY));
        assert_eq!(ask(&arbiter, "connect"), Some(Verdict::DENY));
        arbiter.end();
        let said: Vec<String> = told.try_iter().collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("said yes\\n"), "{said:?}");
    }

    #[test]
    fn a_line_without_end_is_the_end_of_its_program() {
        let (arbiter, told) = program("exec tr '\\0' x </dev/zero", LONG);
        assert_eq!(ask(&arbiter, "connect"), Some(Verdict::DENY));
        arbiter.end();
        assert_eq!(told.try_iter().count(), 2);
    }

    #[test]
    fn a_program_that_reads_nothing_holds_up_nobody_for_long() {
        let (arbiter, _told) = program("exec sleep 1000", Duration::from_millis(50));
        let long = Event {
            argv: Some(vec!["x".repeat(200_000).into()]),
            ..event("execve")
        };
        assert_eq!(arbiter.ask_and_wait(long, || true), Some(Verdict::DENY));
        assert_eq!(ask(&arbiter, "connect"), Some(Verdict::DENY));
        arbiter.end();
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let command = vec![OsString::from("/no/such/policy")];
        let arbiter = Arbiter::program(command, LONG, |_| {}).expect("threads");
        let error = arbiter.begin().expect_err("none");
        assert!(error.to_string().contains("/no/such/policy"), "{error}");
    }
}
