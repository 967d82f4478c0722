//! `cargo xtask bench`: what nucleus costs, next to what its peers cost.
//!
//! A machine that does other things, too, gives no number twice. So what is
//! compared runs in turns, within seconds, and what is printed is a ratio.

mod audit;
mod memory;
mod notify;
mod paired;
mod seccomp;
mod startup;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::dist;
use crate::shell::{self, Steps};

/// One benchmark: a name on the command line.
struct Benchmark {
    name: &'static str,
    run: fn(&Setting) -> Result<()>,
}

/// All of them, one module each.
const BENCHMARKS: &[Benchmark] = &[
    Benchmark {
        name: "audit",
        run: audit::run,
    },
    Benchmark {
        name: "notify",
        run: notify::run,
    },
    Benchmark {
        name: "seccomp",
        run: seccomp::run,
    },
    Benchmark {
        name: "startup",
        run: startup::run,
    },
    Benchmark {
        name: "trace",
        run: trace::run,
    },
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which to run [default: all]
    names: Vec<String>,

    /// How often each command is run; `startup` runs at least a hundred
    /// rounds, because its goal is stated so
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(3..))]
    rounds: u16,

    /// Measure this nucleus instead of the binary that `cargo xtask dist` builds
    #[arg(long, value_name = "FILE")]
    nucleus: Option<PathBuf>,
}

/// What every benchmark gets.
pub(crate) struct Setting {
    pub(crate) nucleus: PathBuf,
    pub(crate) rounds: usize,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let known: Vec<_> = BENCHMARKS.iter().map(|benchmark| benchmark.name).collect();
    if let Some(unknown) = args.names.iter().find(|name| !known.contains(&&***name)) {
        bail!("no benchmark {unknown:?}; there are: {}", known.join(", "));
    }
    let setting = Setting {
        nucleus: match &args.nucleus {
            Some(path) => path
                .canonicalize()
                .with_context(|| format!("looking for {}", path.display()))?,
            None => dist::program(&shell::root().join("target/dist"))?,
        },
        rounds: args.rounds.into(),
    };
    let mut steps = Steps::default();
    for benchmark in BENCHMARKS {
        if args.names.is_empty() || args.names.iter().any(|name| name == benchmark.name) {
            steps.run(benchmark.name, || (benchmark.run)(&setting));
        }
    }
    Ok(steps.finish())
}
