//! The time and the random numbers that the program gets.

use nucleus_supervisor::{Determinism, RandomSeed, TimeStart};

use crate::supervise::Rules;
use crate::{report, sys};

/// What makes runs alike.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Runs that are alike")]
pub(crate) struct DeterminismArgs {
    /// Start the program's wall clock at a time, such as 2020-01-31T12:00:00Z or
    /// @1577836800
    ///
    /// It goes on from there at its usual speed. Times of files stay the true
    /// ones.
    #[arg(long, value_name = "TIME")]
    time_start: Option<TimeStart>,

    /// Derive all random numbers that the kernel gives the program from a
    /// seed: a number, or 0x and up to 64 hexadecimal digits
    ///
    /// Addresses are not randomised then, either. Whoever knows the seed knows
    /// every key and password that the program makes up.
    #[arg(long, value_name = "SEED")]
    random_seed: Option<RandomSeed>,
}

impl DeterminismArgs {
    /// Adds what a supervisor does about it, and fixes the addresses of what
    /// this thread starts from now on.
    pub(crate) fn apply(&self, rules: &mut Rules) {
        if self.time_start.is_none() && self.random_seed.is_none() {
            return;
        }
        let guard = Determinism::new(self.time_start, self.random_seed);
        // Before other rules on files, which open what is no random number.
        if let Some(files) = guard.random_files() {
            rules.policies.insert(0, Box::new(files));
        }
        rules.guards.push(Box::new(guard));
        if self.random_seed.is_some()
            && let Err(error) = sys::fix_addresses()
        {
            report::note(format_args!(
                "--random-seed: addresses stay random, as personality(2) is refused here: {error}"
            ));
        }
    }
}
