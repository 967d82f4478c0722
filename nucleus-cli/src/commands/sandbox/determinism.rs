//! The time and the random numbers that the program gets.

use std::path::Path;

use nucleus_core::Isolation;
use nucleus_supervisor::{Determinism, RandomSeed, TimeStart};

use crate::policy_file;
use crate::supervise::Rules;
use crate::{report, sys};

/// What makes runs alike.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Runs that are alike")]
pub(crate) struct DeterminismArgs {
    /// Start the program's wall clock at a time, such as 2020-01-31T12:00:00Z or
    /// @1577836800
    ///
    /// It goes on from there at its usual speed. In a sandbox the clocks that
    /// count from the machine's start begin at 1000 s. Times of files stay the
    /// true ones.
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

/// What is to be the same in every run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sameness {
    start: Option<TimeStart>,
    seed: Option<RandomSeed>,
}

/// Where the clocks begin that count from the machine's start: long enough ago
/// for whoever looks back a little.
const UPTIME: u32 = 1000;

impl DeterminismArgs {
    /// What an option says counts, and not what a policy file says of the same.
    pub(crate) fn with(&self, by_file: policy_file::Determinism) -> Sameness {
        Sameness {
            start: self.time_start.or(by_file.time_start),
            seed: self.random_seed.or(by_file.random_seed),
        }
    }
}

impl Sameness {
    /// With a start, a sandbox's other clocks have one as well.
    pub(crate) fn sandbox(self, sandbox: Isolation) -> Isolation {
        if self.start.is_none() {
            return sandbox;
        }
        if Path::new("/proc/self/ns/time_for_children").exists() {
            return sandbox.uptime(UPTIME);
        }
        report::note(
            "--time-start: the monotonic clocks are the host's, as this kernel has no time \
             namespaces; Linux 5.6 has them",
        );
        sandbox
    }

    /// Adds what a supervisor does about it, and fixes the addresses of what
    /// this thread starts from now on.
    pub(crate) fn apply(self, rules: &mut Rules) {
        if self.start.is_none() && self.seed.is_none() {
            return;
        }
        let guard = Determinism::new(self.start, self.seed);
        if let Some(files) = guard.random_files() {
            rules.policies.push(Box::new(files));
        }
        rules.guards.push(Box::new(guard));
        if self.seed.is_some()
            && let Err(error) = sys::fix_addresses()
        {
            report::note(format_args!(
                "--random-seed: addresses stay random, as personality(2) is refused here: {error}"
            ));
        }
    }
}
