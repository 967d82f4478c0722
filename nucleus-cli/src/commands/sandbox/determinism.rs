//! The time and the random numbers that the program gets.

use nucleus_supervisor::{Determinism, RandomSeed, TimeStart};

use crate::policy_file;
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
    ///
    /// What an option says counts, and not what a policy file says of the same.
    pub(crate) fn apply(&self, by_file: policy_file::Determinism, rules: &mut Rules) {
        let time_start = self.time_start.or(by_file.time_start);
        let random_seed = self.random_seed.or(by_file.random_seed);
        if time_start.is_none() && random_seed.is_none() {
            return;
        }
        let guard = Determinism::new(time_start, random_seed);
        // Before other rules on files, which open what is no random number.
        if let Some(files) = guard.random_files() {
            rules.policies.insert(0, Box::new(files));
        }
        rules.guards.push(Box::new(guard));
        if random_seed.is_some()
            && let Err(error) = sys::fix_addresses()
        {
            report::note(format_args!(
                "--random-seed: addresses stay random, as personality(2) is refused here: {error}"
            ));
        }
    }
}
