//! What every command that runs a program takes: the sandbox around it.

pub(crate) mod cgroup;
mod determinism;
mod exec;
mod files;
mod ids;
mod network;
mod paths;
mod policy;
mod privileges;
mod rlimits;
mod terminal;
mod time;
mod value;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use caps::CapSet;
use clap::builder::{OsStringValueParser, TypedValueParser};
use nucleus_core::{Command, Isolation, Terminal, View};
use nucleus_seccomp::Profile;
use nucleus_supervisor::{NetPolicy, PathPolicy};

pub(crate) use self::cgroup::MemoryPolicy;
use self::cgroup::{CgroupArgs, Limited};
use self::determinism::DeterminismArgs;
use self::exec::ExecArgs;
use self::files::FileArgs;
use self::ids::IdArgs;
use self::network::NetworkArgs;
pub(crate) use self::network::server;
use self::paths::PathArgs;
use self::policy::PolicyArgs;
pub(crate) use self::policy::{ASKED, Asked};
use self::privileges::PrivilegeArgs;
use self::rlimits::RlimitArgs;
use self::terminal::TerminalArgs;
use self::time::TimeArgs;
pub(crate) use self::value::duration;
use self::value::split_at_byte;
use super::program::Program;
use crate::report;
use crate::session::Job;
use crate::supervise::Rules;

/// The sandbox around the program.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Sandbox")]
pub(crate) struct SandboxArgs {
    /// Leave the program in the host's view, with the seccomp filter alone
    #[arg(long, conflicts_with_all = [
        "volumes", "workspace", "on_exit", "rootfs", "rootfs_upper", "secrets", "tmpfs", "network", "hostname", "hosts", "no_landlock",
        "allow_nested", "limits", "tty", "userns", "uid_maps", "gid_maps", "user", "groups",
        "capabilities", "capabilities_policy", "landlock_policy", "no_userns",
    ])]
    host: bool,

    /// Set a variable of the environment, or pass on the caller's
    #[arg(
        short = 'e',
        long = "env",
        value_name = "NAME[=VALUE]",
        value_parser = OsStringValueParser::new().try_map(variable)
    )]
    env: Vec<OsString>,

    /// Start the program in this folder of the sandbox
    #[arg(short = 'w', long, value_name = "DIR")]
    workdir: Option<PathBuf>,

    /// Do without Landlock, which repeats the grants of the mounts
    #[arg(long)]
    no_landlock: bool,

    /// Let the program make namespaces, for a sandbox inside; implies
    /// --no-landlock
    #[arg(long)]
    allow_nested: bool,

    #[command(flatten)]
    files: FileArgs,

    #[command(flatten)]
    ids: IdArgs,

    #[command(flatten)]
    privileges: PrivilegeArgs,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    terminal: TerminalArgs,

    #[command(flatten)]
    time: TimeArgs,

    #[command(flatten)]
    rlimits: RlimitArgs,

    #[command(flatten)]
    cgroup: CgroupArgs,

    #[command(flatten)]
    exec: ExecArgs,

    #[command(flatten)]
    paths: PathArgs,

    #[command(flatten)]
    policy: PolicyArgs,

    #[command(flatten)]
    determinism: DeterminismArgs,
}

/// A variable must have a name.
fn variable(text: OsString) -> Result<OsString, &'static str> {
    match split_at_byte(&text, b'=') {
        (name, _value) if name.is_empty() => {
            Err("a variable is written NAME, to pass it on, or NAME=VALUE")
        }
        _ => Ok(text),
    }
}

/// A job, and what it is confined by for as long as this lives.
#[derive(Debug)]
pub(crate) struct Sandboxed {
    job: Job,
    /// What is enforced beyond namespaces and mounts, without a supervisor.
    pub(crate) enforced: Vec<String>,
    limited: Option<Limited>,
}

impl Sandboxed {
    /// Ends what confines the job, which is over, as is all that this process
    /// is for: what of the job is in its memory alone is left to the kernel,
    /// which frees it faster than its parts can be looked for (0.06 ms).
    pub(crate) fn end(self) {
        let Self {
            job,
            enforced,
            limited,
        } = self;
        drop(limited);
        mem::forget((job, enforced));
    }
}

impl Deref for Sandboxed {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}

impl DerefMut for Sandboxed {
    fn deref_mut(&mut self) -> &mut Job {
        &mut self.job
    }
}

impl SandboxArgs {
    /// The program in this sandbox, without a filter yet, and the rules
    /// that a supervisor must enforce on it.
    pub(crate) fn supervised(&self, program: &Program) -> anyhow::Result<(Sandboxed, Rules)> {
        let mut rules = Rules::default();
        let policy = self.policy.read()?;
        let asking = self.policy.asking()?;
        let whom = |kind| asking.as_ref().and_then(|asking| asking.about(kind));
        rules.arbiter = asking.as_ref().map(|asking| asking.arbiter().clone());
        let arbiter = whom(Asked::Path);
        let paths = self.paths.rules(&policy.paths, arbiter.is_some())?;
        if paths.is_some() {
            self.check_paths()?;
        }
        let tightened = asking.as_ref().map(|asking| asking.arbiter().context());
        let guard = self
            .exec
            .guard(policy, whom(Asked::Exec), tightened, paths.as_ref());
        rules.guards.extend(guard);
        if let Some(asking) = &asking {
            rules.guards.push(Box::new(asking.inquiry()));
        }
        let [name, arguments @ ..] = program.command.as_slice() else {
            anyhow::bail!("no program given; put it behind --, as in: -- ls -l /");
        };
        let mut command = Command::new(name);
        command.args(arguments);
        let network = self
            .network
            .policy(self.host, policy, whom(Asked::Network), tightened)?;
        let cgroup = self.cgroup.with(policy.limits);
        let limited = cgroup.apply(&mut command, &mut rules)?;
        let view = self.view(network.as_ref(), rules.memory)?;
        if let Some(folder) = self.start_folder()? {
            command.current_dir(folder);
        }
        for variable in &self.env {
            match split_at_byte(variable, b'=') {
                (name, Some(value)) => command.env(name, value),
                (name, None) => match std::env::var_os(name) {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                },
            };
        }
        // It hands out devices of its own, and leaves other paths to the rules.
        self.determinism.with(policy.determinism).apply(&mut rules);
        if let Some(paths) = paths.clone() {
            let mut policy = PathPolicy::new(paths);
            if let Some(context) = tightened {
                policy = policy.tightened_by(context);
            }
            if let Some(arbiter) = arbiter {
                policy = policy.ask(arbiter.clone());
            }
            rules.policies.push(match &network {
                Some(_) => Box::new(policy.beside_network_policy()),
                None => Box::new(policy),
            });
        }
        if let Some(network) = network {
            rules.policies.push(match paths {
                Some(paths) => Box::new(network.with_paths(paths)),
                None => Box::new(network),
            });
        }
        let mut enforced = Vec::from_iter(limited.as_ref().map(Limited::describe));
        if let View::Isolated(sandbox) | View::Reduced(sandbox) = &view {
            let abi = nucleus_core::landlock_abi();
            let ports = self.ids.no_userns && !self.network.is_host();
            let enforcement = sandbox.landlock_enforcement(abi, ports);
            enforced.push(format!("Landlock (ABI {abi}) is enforced {enforcement}"));
        }
        command.view(view);
        if self.ids.no_userns {
            // Of a sandbox that can be, not of one that is refused.
            command.plan()?;
            self.say_what_is_off();
        }
        let sandboxed = Sandboxed {
            enforced,
            job: Job {
                own_session: !self.host && self.terminal.terminal()? != Terminal::Shared,
                time_limit: self.time.limit(),
                on_exit: self.files.on_exit()?,
                command,
                remains: None,
            },
            limited,
        };
        Ok((sandboxed, rules))
    }

    fn view(&self, network: Option<&NetPolicy>, memory: Option<u64>) -> anyhow::Result<View> {
        if self.host {
            return Ok(View::Host);
        }
        let sandbox = Isolation::new()
            .terminal(self.terminal.terminal()?)
            .landlock(!self.no_landlock)
            .nested(self.allow_nested);
        let sandbox = match memory {
            Some(bytes) => sandbox.memory(bytes),
            None => sandbox,
        };
        let sandbox = self.ids.apply(sandbox);
        let sandbox = self.privileges.read()?.apply(sandbox);
        let sandbox = self.network.apply(sandbox, network);
        let sandbox = self.rlimits.apply(sandbox);
        let sandbox = self.files.apply(sandbox)?;
        if self.ids.no_userns {
            return Ok(View::Reduced(sandbox));
        }
        let sameness = self.determinism.with(self.policy.read()?.determinism);
        Ok(View::Isolated(sameness.sandbox(sandbox)))
    }

    /// Files are opened in the program's place, by a process that no Landlock
    /// confines.
    fn check_paths(&self) -> anyhow::Result<()> {
        ensure!(
            !self.ids.no_userns,
            "rules on paths do not go with --no-userns: the files are then opened in the program's \
             place by nucleus, whom Landlock does not confine, and nothing but Landlock confines \
             the program there; grant less by --landlock-policy instead, or leave --no-userns out"
        );
        ensure!(
            !self.privileges.has_landlock_policy(),
            "rules on paths do not go with --landlock-policy: the files are opened in the program's \
             place by nucleus, whom Landlock does not confine, so that the policy would not hold; \
             leave its paths out and grant by --volume, or leave the rules on paths out"
        );
        Ok(())
    }

    fn start_folder(&self) -> anyhow::Result<Option<PathBuf>> {
        match &self.workdir {
            Some(folder) => Ok(Some(folder.clone())),
            None => self.files.workspace_folder(),
        }
    }

    fn say_what_is_off(&self) {
        let abi = nucleus_core::landlock_abi();
        let enforcement = Isolation::new().landlock_enforcement(abi, !self.network.is_host());
        let network = if self.network.is_host() {
            ", the network and every local service are the host's"
        } else {
            ""
        };
        let denied = Profile::denied_when_reduced(self.network.is_host()).join(", ");
        report::note(format_args!(
            "--no-userns: on are Landlock (ABI {abi}, {enforcement}), the filter, limits, \
             no_new_privs and a clean environment; off are all namespaces, mounts and a user of \
             its own: the program sees the host's processes and has no home and no /tmp{network}; \
             denied in their place are {denied}"
        ));
    }

    /// Whether the program has namespaces of its own.
    pub(crate) const fn is_isolated(&self) -> bool {
        !self.host && !self.ids.no_userns
    }

    /// The profile that goes with these options; `None` for the default one.
    pub(crate) fn profile(&self) -> anyhow::Result<Option<Profile>> {
        let profile = if self.ids.no_userns {
            Some(Profile::sandbox_reduced(self.network.is_host()))
        } else if self.allow_nested {
            Some(Profile::sandbox_nested())
        } else {
            None
        };
        Ok(if self.privileges.read()?.capabilities.is_empty() {
            profile
        } else {
            let profile = profile.unwrap_or_else(Profile::sandbox_default);
            Some(profile.with_capabilities())
        })
    }

    /// The capabilities that the program will be able to have, by the kernel's
    /// names: what conditions of a profile are decided by.
    pub(crate) fn capabilities(&self) -> anyhow::Result<BTreeSet<String>> {
        if !self.host {
            let added = self.privileges.read()?.capabilities;
            return Ok(added.iter().map(ToString::to_string).collect());
        }
        let bounding = caps::read(None, CapSet::Effective)
            .context("cannot read the capabilities of this process")?;
        Ok(bounding.iter().map(ToString::to_string).collect())
    }
}
