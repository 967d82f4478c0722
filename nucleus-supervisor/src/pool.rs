//! Threads for handlers that may block: as many as requests that block at once.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(2);

type Job = Box<dyn FnOnce() + Send>;

/// A pool that grows: a job never waits for another one to end.
#[derive(Clone, Default)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    idle: usize,
}

impl Pool {
    /// Runs a job on a thread of its own or an idle one. When no thread can be
    /// started the job is dropped.
    pub(crate) fn run(&self, job: Job) -> io::Result<()> {
        let mut state = self.state();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() {
            drop(state);
            self.0.work.notify_one();
            return Ok(());
        }
        drop(state);
        let pool = self.clone();
        let started = thread::Builder::new()
            .name("nucleus-worker".to_owned())
            .spawn(move || pool.work());
        match started {
            Ok(_detached) => Ok(()),
            Err(error) => {
                let _dropped: Option<Job> = self.state().jobs.pop_back();
                Err(error)
            }
        }
    }

    fn work(&self) {
        let mut state = self.state();
        loop {
            while let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.state();
            }
            state.idle += 1;
            let (back, waited) = self
                .0
                .work
                .wait_timeout_while(state, IDLE, |state| state.jobs.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            state = back;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Jobs run without the lock, so a panic leaves the state whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::mpsc::channel;

    #[test]
    fn no_job_waits_for_another() {
        const JOBS: usize = 40;
        let pool = Pool::default();
        // Each ends only when all have begun.
        let all = Arc::new(Barrier::new(JOBS + 1));
        for _ in 0..3 {
            for _ in 0..JOBS {
                let all = Arc::clone(&all);
                pool.run(Box::new(move || {
                    all.wait();
                }))
                .expect("a thread");
            }
            all.wait();
        }
    }

    #[test]
    fn a_thread_that_is_idle_takes_the_next_job() {
        let pool = Pool::default();
        let (send, receive) = channel();
        for round in 0..100 {
            let send = send.clone();
            pool.run(Box::new(move || send.send(round).expect("open")))
                .expect("a thread");
            assert_eq!(receive.recv(), Ok(round));
        }
    }
}
