//! `nucleus run`: a program under a filter.

use std::ffi::OsString;
use std::io::{self, Write};

use anyhow::{Context, bail, ensure};
use nucleus_audit::PtraceMode;
use nucleus_seccomp::{Arch, Architectures, Completeness, InstallFlags, Profile};

use super::filter_args::{FilterArgs, Mode, OtherArch};
use super::program::Program;
use super::sandbox::SandboxArgs;
use super::trace;
use crate::denials::{self, Events, Remedy};
use crate::exit::Exit;
use crate::supervise::{Filter, Supervision, Watch};
use crate::told::Teller;
use crate::{explained, filter, profile_file, report};

/// Run a program in a sandbox
///
/// The exit code is the program's own; 128+N when signal N killed it; 125 when
/// nucleus failed, 126 when the program cannot be executed, 127 when there is
/// no such program.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = "\
Examples:
  nucleus run -- ls -l
  nucleus run --workspace . -- cargo build --offline
  nucleus run --workspace .:cow --on-exit ask -- ./agent
  nucleus run -v ./data:/data:ro --network host -- ./fetch
  nucleus run --exec-allow git --exec-deny 'git ... push ...' -- sh -c 'git log'
  nucleus run --workspace . --path-deny $PWD/.git -- ./agent
  nucleus run --pids 50 --memory 1G -- make -j4
  nucleus run --policy policy.toml --policy-exec ./policy.py -- ./agent
  nucleus run --time-start 2020-01-01T00:00:00Z --random-seed 7 -- ./test
  nucleus run --net-allow '*.crates.io:443' --net-deny bad.crates.io -- cargo fetch
  nucleus run --net-allow localhost:5432 --net-allow-bind 8080 -- ./server
  nucleus run --rootfs ./debian --secret token:/run/secrets/token -- sh
  nucleus run --rootfs ./debian --rootfs-upper ./changes -- sh
  nucleus run --print-plan -- ls
  nucleus run --host --seccomp-profile ls.seccomp.json -- ls -l /
  nucleus run --host --seccomp-profile p.json --seccomp-log-denied -- ./server
  nucleus run --host --seccomp-profile p.json --explain -- ./server")]
pub(crate) struct Args {
    #[command(flatten)]
    sandbox: SandboxArgs,

    #[command(flatten)]
    filter: FilterArgs,

    /// Print every step of the start, and do not start
    #[arg(long, conflicts_with_all = ["seccomp_mode", "seccomp_log_denied", "explain", "events"])]
    print_plan: bool,

    /// Say of each rule that is beyond namespaces and mounts who enforces it,
    /// the kernel or a supervisor, which is this process; what of Landlock this
    /// kernel has; and where the cgroup is
    #[arg(long)]
    verbose: bool,

    #[command(flatten)]
    program: Program,
}

impl Args {
    /// What `-- CMD ARG...` without options stands for.
    pub(crate) fn of(command: Vec<OsString>) -> Self {
        Self {
            program: Program { command },
            ..Self::default()
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match (args.filter.seccomp_mode, &args.filter.seccomp_log) {
        (Mode::Trace, Some(path)) => {
            ensure!(
                args.filter.seccomp_profile.is_none(),
                "--seccomp-profile does not go with --seccomp-mode trace, which allows every call; leave one out"
            );
            trace::record_to(path, args.filter.source, &args.sandbox, &args.program)
        }
        (Mode::Trace, None) => bail!("--seccomp-mode trace needs --seccomp-log FILE to write to"),
        (Mode::Enforce, Some(_)) => {
            bail!(
                "--seccomp-log goes with --seccomp-mode trace; to name denied calls use --seccomp-log-denied"
            )
        }
        (Mode::Enforce, None) => enforce(args),
    }
}

/// The architectures that the default profile is to allow besides the machine's.
fn others(allowed: &[OtherArch]) -> anyhow::Result<Architectures> {
    ensure!(
        filter::native()? == Arch::X86_64,
        "--allow-arch names architectures of x86_64 machines, and this is none; leave it out"
    );
    let arches = allowed.iter().map(|other| other.arch().into());
    Ok(Architectures::Listed(arches.collect()))
}

fn enforce(args: &Args) -> anyhow::Result<Exit> {
    let FilterArgs {
        seccomp_profile: path,
        seccomp_profile_sha256: fingerprint,
        seccomp_log_denied,
        explain,
        source,
        events,
        allow_arch,
        ..
    } = &args.filter;
    // First, so that the number can only be what nucleus was started with.
    let events = events.map(Events::inherited).transpose()?;
    let with_events = events.is_some();
    let resolve = |profile: &Profile| filter::resolve(profile, args.sandbox.capabilities()?);
    let with_others = |mut profile: Profile| {
        if !allow_arch.is_empty() {
            profile.architectures = others(allow_arch)?;
        }
        resolve(&profile)
    };
    let special = match (path, args.sandbox.profile()?) {
        (Some(path), _) => Some(resolve(&profile_file::read(path, *fingerprint)?)?),
        (None, Some(profile)) => Some(with_others(profile)?),
        (None, None) if !allow_arch.is_empty() => Some(with_others(Profile::sandbox_default())?),
        (None, None) => None,
    };
    // The default is resolved only where its filter is not enough.
    let is_default = special.is_none();
    let policy = || special.map_or_else(|| resolve(&Profile::sandbox_default()), Ok);
    let (mut sandboxed, rules) = args.sandbox.supervised(&args.program)?;
    let supervision = Supervision::new(rules)?;
    let enforced: Vec<String> = {
        let others = std::mem::take(&mut sandboxed.enforced).into_iter();
        let by_supervisor = supervision.enforced().iter();
        others
            .chain(by_supervisor.map(ToString::to_string))
            .collect()
    };
    if args.verbose && !args.print_plan {
        enforced.iter().for_each(report::note);
    }
    let remedy = match path {
        Some(path) => Remedy::Change(path.clone()),
        None if args.sandbox.is_isolated() => Remedy::Option,
        None => Remedy::Give,
    };
    let teller = Teller::new(*explain, events, remedy);
    if *explain {
        let ended = explained::run(&mut sandboxed, policy()?, supervision, &teller)?;
        teller.finish(Completeness::Complete, false)?;
        return Ok(ended.into());
    }
    if *seccomp_log_denied || with_events {
        let (ended, completeness) = denials::watch(
            &mut sandboxed,
            &policy()?,
            PtraceMode::Deny,
            *source,
            supervision,
            &teller,
        )?;
        let report = teller.finish(completeness, *seccomp_log_denied)?;
        report::incomplete("the report of denied calls", &report.completeness);
        return Ok(ended.into());
    }
    // The default is compiled already.
    let filter = if is_default && supervision.is_empty() {
        Filter {
            program: filter::sandbox_default()?,
            flags: InstallFlags::empty(),
        }
    } else {
        let policy = policy()?;
        Filter {
            program: supervision.enforcing(&policy)?,
            flags: policy.install_flags(),
        }
    };
    if args.print_plan {
        supervision.filter(&mut sandboxed, filter, None)?;
        let rules: String = enforced.iter().map(|rule| format!("{rule}\n")).collect();
        write!(io::stdout(), "{}{rules}", sandboxed.command.plan()?)
            .context("cannot write the plan to standard output")?;
        return Ok(Exit::SUCCESS);
    }
    let (ended, _verdict) = supervision.run(&mut sandboxed, filter, Watch::default())?;
    if ended.is_by_sigsys() {
        report::note(
            "the program was killed for a system call that the filter does not allow (SIGSYS); \
             --explain names it; 32-bit programs need --allow-arch x86",
        );
    }
    sandboxed.end();
    Ok(ended.into())
}
