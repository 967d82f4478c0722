//! `cargo xtask fuzz`: the fuzz targets of what reads untrusted bytes.
//!
//! With the stable compiler: the coverage that libFuzzer is led by is a pass
//! of LLVM, which `-C passes` turns on (what cargo-fuzz does on top of it, the
//! sanitizers, needs a nightly one, and is for unsafe code, which no reader
//! here has).

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};

use crate::shell::{self, Steps, cargo};

/// Each target, and the folder whose files it starts from.
const TARGETS: [(&str, &str); 4] = [
    ("audit_record", "fuzz/seeds/audit_record"),
    ("profile_json", "nucleus-seccomp/profiles"),
    ("program_bytes", "fuzz/seeds/program_bytes"),
    ("trace_ndjson", "fuzz/seeds/trace_ndjson"),
];

/// What cargo-fuzz gives the compiler, without a sanitizer.
const RUSTFLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks --cfg fuzzing";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Targets to run [default: all]
    #[arg(value_name = "TARGET", value_parser = TARGETS.map(|(name, _)| name))]
    targets: Vec<String>,
    /// How long each of them runs
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut steps = Steps::default();
    if !shell::installed("c++") {
        steps.skip("fuzz", "libFuzzer is C++; install g++");
        return Ok(steps.finish());
    }
    let folder = shell::root().join("target/fuzz");
    let mut built = None;
    steps.run("build the fuzz targets", || {
        built = Some(build(&folder)?);
        Ok(())
    });
    let Some(programs) = built else {
        return Ok(steps.finish());
    };
    for (name, seeds) in TARGETS {
        if args.targets.is_empty() || args.targets.iter().any(|target| target == name) {
            steps.run(name, || {
                fuzz(name, &programs.join(name), seeds, &folder, args.seconds)
            });
        }
    }
    Ok(steps.finish())
}

/// Builds every target, and says where they are.
fn build(folder: &Path) -> Result<PathBuf> {
    let host = host()?;
    shell::run(
        cargo()
            // With a target, what is built for this machine's own use, such
            // as procedural macros, is left as it is.
            .args(["build", "--release", "--locked", "--target", &host])
            .arg("--manifest-path")
            .arg(shell::root().join("fuzz/Cargo.toml"))
            .arg("--target-dir")
            .arg(folder)
            .env("RUSTFLAGS", RUSTFLAGS),
    )?;
    Ok(folder.join(host).join("release"))
}

fn fuzz(name: &str, program: &Path, seeds: &str, folder: &Path, seconds: u32) -> Result<()> {
    let seeds = shell::root().join(seeds);
    ensure!(seeds.is_dir(), "{} is no folder", seeds.display());
    let corpus = folder.join("corpus").join(name);
    let crashes = folder.join("crashes").join(name);
    for folder in [&corpus, &crashes] {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={seconds}"))
        .args(["-timeout=10", "-rss_limit_mb=1024", "-verbosity=0"])
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .args([corpus, seeds]);
    let output = command
        .output()
        .with_context(|| format!("starting {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        // The rest is what libFuzzer has learnt of the input, word by word.
        for line in said.lines().filter(|line| line.starts_with("stat::")) {
            eprintln!("{line}");
        }
        return Ok(());
    }
    bail!(
        "{}; the input is in {}\n{said}",
        output.status,
        crashes.display()
    )
}

/// This machine as the compiler names it.
fn host() -> Result<String> {
    let mut rustc = Command::new("rustc");
    let output = shell::output(rustc.args(["--print", "host-tuple"]))?;
    Ok(String::from_utf8(output)?.trim_end().to_owned())
}
