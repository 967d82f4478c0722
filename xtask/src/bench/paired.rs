//! Commands that take turns.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The times of one command, in the order of the rounds.
#[derive(Debug, Clone)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    }

    /// The median of what each round took longer than that of `base`, in
    /// seconds; negative where it was faster.
    pub(crate) fn median_extra(&self, base: &Self) -> f64 {
        let pairs = self.0.iter().zip(&base.0);
        let mut extras: Vec<f64> = pairs
            .map(|(time, base)| time.as_secs_f64() - base.as_secs_f64())
            .collect();
        extras.sort_by(f64::total_cmp);
        extras[extras.len() / 2]
    }
}

/// Runs the commands one after the other, `rounds` times after a round that
/// warms up, without output; each must succeed.
///
/// Each round has another order: what one leaves to the kernel to be freed slows
/// the next, and none shall always be the next of the same one.
pub(crate) fn run(rounds: usize, commands: &mut [Command]) -> Result<Vec<Times>> {
    let mut times = vec![Times(Vec::with_capacity(rounds)); commands.len()];
    for command in &mut *commands {
        time(command)?;
    }
    for round in 0..rounds {
        for index in shuffled(round, commands.len()) {
            times[index].0.push(time(&mut commands[index])?);
        }
    }
    Ok(times)
}

/// The numbers below `count` in an order that depends on the round alone.
fn shuffled(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_cached_key(|index| {
        let mut hasher = DefaultHasher::new();
        (round, index).hash(&mut hasher);
        hasher.finish()
    });
    order
}

fn time(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // Cargo's, in which the loader would look for each library first.
    command.env_remove("LD_LIBRARY_PATH");
    let start = Instant::now();
    let status = command
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    let took = start.elapsed();
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(took)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_follows_each_other_one_in_some_round() {
        let mut pairs = BTreeSet::new();
        for round in 0..100 {
            let order = shuffled(round, 4);
            pairs.extend(order.windows(2).map(|pair| (pair[0], pair[1])));
        }
        assert_eq!(pairs.len(), 4 * 3);
    }

    #[test]
    fn medians_are_of_the_middle_and_of_pairs() {
        let times = |millis: [u64; 3]| Times(millis.map(Duration::from_millis).to_vec());
        let base = times([100, 10, 10]);
        let longer = times([103, 19, 12]);
        assert_eq!(base.median(), Duration::from_millis(10));
        assert!((longer.median_extra(&base) - 0.003).abs() < 1e-9);
        assert!((base.median_extra(&longer) + 0.003).abs() < 1e-9);
    }
}
