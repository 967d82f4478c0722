//! The supervisor at work: one thread that receives, and a pool.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use rustix::io::Errno;

use crate::listener::Receiver;
use crate::pool::Pool;
use crate::{Decision, Delivery, Error, Failure, Listener, Registry, Reply, Request};

const RECEIVER: &str = "nucleus-notify";

/// Answers the notifications of a listener by the handlers of a registry.
///
/// The receiving thread runs the handlers that never wait ([`AtOnce`](crate::AtOnce)), and hands
/// over the others. Whatever a handler does, its caller is answered: with the errno of a
/// failure, with EIO after a panic, with EPERM when a held request is dropped.
///
/// When this process dies or the receiver ends with an error, the listener is
/// closed: every trapped call, waiting or to come, fails with ENOSYS.
#[derive(Debug)]
pub struct Supervisor {
    receiver: JoinHandle<Result<(), Error>>,
    counters: Arc<Counters>,
}

/// What a supervisor has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Requests received.
    pub received: u64,
    /// Of them, those whose callers were gone when the answer came.
    pub gone: u64,
    /// Those that a handler could not judge and that failed for it.
    pub failed: u64,
    /// Those during which a handler panicked, or whoever held one.
    pub panicked: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    received: AtomicU64,
    gone: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
}

impl Supervisor {
    /// Starts to answer.
    ///
    /// # Errors
    ///
    /// No thread can be started; the listener is closed then.
    pub fn start(listener: Listener, registry: Registry) -> Result<Self, Error> {
        let counters = Arc::new(Counters::default());
        let engine = Arc::new(Engine {
            registry,
            counters: Arc::clone(&counters),
        });
        let receiver = thread::Builder::new()
            .name(RECEIVER.to_owned())
            .spawn(move || engine.receive(listener))
            .map_err(|source| Error::Thread {
                name: RECEIVER,
                source,
            })?;
        Ok(Self { receiver, counters })
    }

    /// Waits until the last task under the filter is gone.
    ///
    /// # Errors
    ///
    /// Receiving failed. Trapped calls fail with ENOSYS from then on: whoever
    /// started the program should end it.
    pub fn wait(self) -> Result<Summary, Error> {
        let ended = self.receiver.join();
        ended.map_err(|_panic| Error::Panicked { name: RECEIVER })??;
        Ok(self.counters.summary())
    }

    /// What it has done up to now.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.counters.summary()
    }
}

impl Counters {
    pub(crate) fn panicked(&self) {
        count(&self.panicked);
    }

    fn summary(&self) -> Summary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Summary {
            received: get(&self.received),
            gone: get(&self.gone),
            failed: get(&self.failed),
            panicked: get(&self.panicked),
        }
    }
}

struct Engine {
    registry: Registry,
    counters: Arc<Counters>,
}

impl Engine {
    fn receive(self: Arc<Self>, listener: Listener) -> Result<(), Error> {
        let pool = Pool::default();
        let mut receiver = Receiver::new(Arc::new(listener));
        while let Some(request) = receiver.receive()? {
            count(&self.counters.received);
            if !self.registry.may_wait(&request) {
                match self.decide(request) {
                    // Who is told of a denial may wait.
                    Some((request, reply)) if self.registry.will_be_told(&request) => {
                        let engine = Arc::clone(&self);
                        self.run(&pool, move || engine.conclude(request, reply));
                    }
                    Some((request, reply)) => self.conclude(request, reply),
                    None => {}
                }
                continue;
            }
            let engine = Arc::clone(&self);
            self.run(&pool, move || {
                if let Some((request, reply)) = engine.decide(request) {
                    engine.conclude(request, reply);
                }
            });
        }
        Ok(())
    }

    /// Without a thread the job is dropped, and its request denied.
    fn run(&self, pool: &Pool, job: impl FnOnce() + Send + 'static) {
        if pool.run(Box::new(job)).is_err() {
            count(&self.counters.failed);
        }
    }

    /// The answer to a request, unless it is held.
    fn decide(&self, request: Request) -> Option<(Request, Reply)> {
        // A handler holds nothing that a later one could find half done but
        // what is its own.
        let decided = catch_unwind(AssertUnwindSafe(|| self.registry.decide(&request)));
        let reply = match decided {
            Ok(Ok(Decision::Hold(take))) => {
                let held = request.held(Arc::clone(&self.counters));
                // A request that is lost in a panic counts it.
                let _panic = catch_unwind(AssertUnwindSafe(|| take(held)));
                return None;
            }
            Ok(Ok(Decision::Answer(reply))) => reply,
            Ok(Ok(Decision::Pass(grounds))) => Reply::Continue(grounds),
            Ok(Err(Failure(errno))) => {
                count(&self.counters.failed);
                Reply::Errno(errno)
            }
            Err(_panic) => {
                self.counters.panicked();
                Reply::Errno(Errno::IO)
            }
        };
        Some((request, reply))
    }

    fn conclude(&self, request: Request, reply: Reply) {
        self.registry.tell_denied(&request, &reply);
        match request.answer(reply) {
            Ok(Delivery::Delivered) => {}
            Ok(Delivery::Gone) => count(&self.counters.gone),
            // The request denied itself when it was dropped.
            Err(_refused) => count(&self.counters.failed),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
