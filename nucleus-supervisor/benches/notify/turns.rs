//! Subjects that take turns.

use crate::Result;
use crate::subject::Subject;

const ROUNDS: usize = 150;

/// Subjects with the times of their turns, in nanoseconds per call.
pub(crate) struct Turns {
    calls: usize,
    all: Vec<(&'static str, Subject, Vec<f64>)>,
}

/// One may take at most so many times as long as another.
pub(crate) struct Goal {
    base: usize,
    judged: usize,
    most: f64,
}

impl Goal {
    /// Compared with the first.
    pub(crate) const fn at_most(judged: usize, most: f64) -> Self {
        Self::between(0, judged, most)
    }

    pub(crate) const fn between(base: usize, judged: usize, most: f64) -> Self {
        Self { base, judged, most }
    }
}

impl Turns {
    /// So many calls in a turn.
    pub(crate) const fn new(calls: usize) -> Self {
        Self {
            calls,
            all: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, name: &'static str, subject: Subject) {
        self.all.push((name, subject, Vec::with_capacity(ROUNDS)));
    }

    /// Takes them, and says what came of it and whether the goals are met.
    pub(crate) fn take(mut self, goals: &[Goal]) -> Result<bool> {
        for (_, subject, _) in &mut self.all {
            subject.time(self.calls)?;
        }
        for _ in 0..ROUNDS {
            for (_, subject, times) in &mut self.all {
                times.push(subject.time(self.calls)?);
            }
        }
        let mut tenths = Vec::new();
        for (name, subject, mut times) in self.all {
            subject.end()?;
            times.sort_by(f64::total_cmp);
            let [tenth, median] = [10, 2].map(|part| times[times.len() / part]);
            println!("{name:36} median {median:8.0} ns, fastest tenth below {tenth:8.0} ns");
            tenths.push((name, tenth));
        }
        let mut met = true;
        for goal in goals {
            let ((base, base_time), (name, time)) = (tenths[goal.base], tenths[goal.judged]);
            let ratio = time / base_time;
            let verdict = if ratio <= goal.most { "met" } else { "MISSED" };
            met &= ratio <= goal.most;
            println!(
                "{name} : {base} = {ratio:.2} (goal: at most {}) {verdict}",
                goal.most
            );
        }
        Ok(met)
    }
}
