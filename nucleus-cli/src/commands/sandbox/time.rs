//! How long the program may run.

use std::time::Duration;

use super::value::duration;
use crate::running::TimeLimit;

/// The time limit of a run.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Time")]
pub(crate) struct TimeArgs {
    /// End the program after a time such as 30s, 5m or 1h30m, with exit code 124
    ///
    /// It is sent SIGTERM, and all that is left of it after --kill-after is
    /// killed. With learn, each run has this time.
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    timeout: Option<Duration>,

    /// With --timeout: kill what is still there this long after SIGTERM; 0
    /// kills at once
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    #[arg(requires = "timeout")]
    kill_after: Duration,
}

impl Default for TimeArgs {
    fn default() -> Self {
        Self {
            timeout: None,
            kill_after: Duration::from_secs(5),
        }
    }
}

impl TimeArgs {
    pub(crate) fn limit(&self) -> Option<TimeLimit> {
        self.timeout.map(|after| TimeLimit {
            after,
            kill_after: self.kill_after,
        })
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("no program can do anything in no time".to_owned()),
        time => Ok(time),
    }
}
