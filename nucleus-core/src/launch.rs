//! Turns a command into a plan, and a plan into processes.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nucleus_seccomp::{Arch, InstallFlags, SeccompData};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, PidfdFlags, Signal, WaitId, WaitIdOptions};
use rustix::thread::CapabilitySet;

use crate::autopsy::Autopsy;
use crate::child::{Child, Launched};
use crate::command::{Command, View};
use crate::environment;
use crate::error::{Cause, LaunchError};
use crate::host::Host;
use crate::ids::{self, Helpers, Identity, SubordinateIds, Wish};
use crate::init::{self, Init};
use crate::interpret::Prepared;
use crate::layout::{self, Held, Layout};
use crate::network::{self, Making};
use crate::overlay::KeptLayer;
use crate::plan::{Namespaces, Plan, Reaping, Step, Stream};
use crate::reduced;
use crate::report::Report;
use crate::stat;
use crate::stdio::{Stdio, above_streams, refuse_folder};
use crate::strings::c_string;
use crate::sys::{self, CStringArray, Cloned, Code, Stack};

/// Where programs are looked for without PATH (`_CS_PATH` of confstr(3)).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What execve is given, and what it was made from.
#[derive(Debug)]
pub(crate) struct Strings {
    argv: CStringArray,
    envp: CStringArray,
    /// The folders of PATH that a program without a slash is looked for in.
    searched: Vec<PathBuf>,
    /// What of the host the child will look for.
    held: Held,
}

/// The whole start as data, and the strings for execve. Reads what it must
/// know of the host, and changes nothing.
pub(crate) fn plan(command: &Command) -> Result<(Plan, Strings), LaunchError> {
    let mut layout = match &command.view {
        View::Host | View::Reduced(_) => None,
        View::Isolated(sandbox) => {
            let host = Host::read(random()?);
            let wish = Wish {
                namespace: &sandbox.user_namespace,
                user: sandbox.user,
                groups: &sandbox.groups,
            };
            let identity = Identity::decide(&wish, &host, || SubordinateIds::read(host.uid))?;
            let folder = command.current_dir.as_deref();
            Some(layout::plan(
                sandbox,
                &host,
                &identity,
                &command.program,
                folder,
            )?)
        }
    };
    let variables = match &layout {
        None if matches!(command.view, View::Reduced(_)) => {
            let home = Path::new(reduced::HOME);
            let caller = environment::sandboxed(env::vars_os(), home, false);
            command.env.resolve(caller)
        }
        None => command.env.resolve(env::vars_os()),
        Some(layout) => command.env.resolve(environment::sandboxed(
            env::vars_os(),
            layout.home.as_path(),
            layout.is_image,
        )),
    };
    let path = variables
        .get(OsStr::new("PATH"))
        .map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
    let (candidates, searched) = candidates(&command.program, path)?;

    let mut argv = vec![c_string("program", &command.program)?];
    for arg in &command.args {
        argv.push(c_string("argument", arg)?);
    }
    let mut envp = Vec::with_capacity(variables.len());
    for (name, value) in &variables {
        let mut variable = name.clone();
        variable.push("=");
        variable.push(value);
        envp.push(c_string("environment variable", &variable)?);
    }

    let held = layout
        .as_mut()
        .map_or_else(Held::default, |layout| std::mem::take(&mut layout.held));
    let mut plan = match layout {
        None => in_hosts_view(command)?,
        Some(layout) => in_sandbox(command, layout),
    };
    if command.cgroup.is_some() {
        // First: what follows may take the right to.
        plan.program.insert(0, Step::DieBeforeInit);
    }
    plan.program.push(Step::Find {
        along_path: !command.program.as_bytes().contains(&b'/'),
        candidates,
    });
    plan.program.push(Step::Signals);
    if command.filter.is_some() && !plan.program.contains(&Step::NoNewPrivs) {
        plan.program.push(Step::NoNewPrivs);
    }
    if plan.shares_memory {
        plan.program.push(Step::CloseMemory);
    }
    if command.hold || command.listen {
        // Where credentials were changed it is closed.
        if !traces_anybody() {
            plan.program.push(Step::OpenMemory);
        }
        plan.program.push(Step::Hold);
    } else {
        plan.program.push(Step::Announce);
    }
    if let Some(filter) = &command.filter {
        let mut flags = command.filter_flags;
        flags.set(InstallFlags::NEW_LISTENER, command.listen);
        plan.program.push(Step::Filter(filter.clone(), flags));
    }
    plan.program.push(Step::Exec);

    let strings = Strings {
        argv: CStringArray::new(argv),
        envp: CStringArray::new(envp),
        searched,
        held,
    };
    Ok((plan, strings))
}

/// Whether this process may trace one whose memory is closed. Others who have the
/// program's ids then need not be let in with it: what is there is a copy of
/// this process's memory.
fn traces_anybody() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE))
}

/// The beginning of a plan without a sandbox.
fn in_hosts_view(command: &Command) -> Result<Plan, LaunchError> {
    let mut program = vec![Step::DieWithInit];
    program.extend(connections(command));
    program.push(Step::CloseFds);
    if let Some(folder) = &command.current_dir {
        program.push(Step::Chdir(c_string("path", folder)?));
    }
    if let View::Reduced(sandbox) = &command.view {
        let host = Host::read(random()?);
        let folder = command.current_dir.as_deref();
        program.extend(reduced::steps(sandbox, &host, &command.program, folder)?);
    }
    Ok(Plan {
        init: vec![Step::Subreaper],
        program,
        settle: Vec::new(),
        reaping: Reaping::Subreaper,
        namespaces: Namespaces::empty(),
        shares_memory: shares_memory(command),
        program_ids: None,
        program_namespaces: Namespaces::empty(),
        helpers: None,
        mount_ids: Vec::new(),
    })
}

/// The beginning of a plan with a sandbox.
fn in_sandbox(command: &Command, layout: Layout) -> Plan {
    // The pipe that it waits for ids on is closed with all else.
    let mut program = layout.confinement.first;
    program.extend(connections(command));
    program.push(Step::CloseFds);
    program.extend(layout.program);
    Plan {
        init: layout.init,
        program,
        settle: layout.confinement.settle,
        reaping: Reaping::Namespace,
        namespaces: layout.confinement.namespaces,
        shares_memory: shares_memory(command),
        program_ids: layout.confinement.program_ids,
        program_namespaces: layout.confinement.program_namespaces,
        helpers: layout.confinement.helpers,
        mount_ids: layout.mount_ids,
    }
}

/// Whether the program's process can work in init's memory, which is faster.
/// Not where it must be open to a tracer, which init must not be; nor where it
/// shall be killed before init when memory runs out, which the kernel decides
/// for all who share it; nor in another time namespace, which Linux 6.1 refuses
/// to those who do.
fn shares_memory(command: &Command) -> bool {
    let has_own_time = matches!(&command.view, View::Isolated(sandbox) if sandbox.uptime.is_some());
    !command.hold && !command.listen && command.cgroup.is_none() && !has_own_time
}

/// The steps that connect those streams that are not inherited.
fn connections(command: &Command) -> impl Iterator<Item = Step> {
    [Stream::Stdin, Stream::Stdout, Stream::Stderr]
        .into_iter()
        .zip(&command.streams)
        .filter(|(_stream, stdio)| !matches!(stdio, Stdio::Inherit))
        .map(|(stream, _stdio)| Step::Connect(stream))
}

fn random() -> Result<u32, LaunchError> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(parent("choose a user id"))?;
    Ok(u32::from_ne_bytes(bytes))
}

/// Where the program may be, and the folders that were taken from PATH. As
/// execvp(3): an empty entry is the working directory.
fn candidates(program: &OsStr, path: &OsStr) -> Result<(Vec<CString>, Vec<PathBuf>), LaunchError> {
    if program.as_bytes().contains(&b'/') {
        return Ok((vec![c_string("path", program)?], Vec::new()));
    }
    let mut candidates = Vec::new();
    let mut searched = Vec::new();
    for folder in env::split_paths(path) {
        let folder = if folder.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            folder
        };
        if !program.is_empty() {
            candidates.push(c_string("path", folder.join(program).as_os_str())?);
        }
        searched.push(folder);
    }
    Ok((candidates, searched))
}

/// Starts the command.
pub(crate) fn spawn(command: &Command) -> Result<Child, LaunchError> {
    let (plan, strings) = plan(command)?;

    let mut program_ends = [None, None, None];
    let mut parent_ends = [None, None, None];
    for (index, stream) in [Stream::Stdin, Stream::Stdout, Stream::Stderr]
        .into_iter()
        .enumerate()
    {
        let ends = command.streams[index]
            .open(stream)
            .map_err(parent("prepare a standard stream"))?;
        if !matches!(command.view, View::Host) {
            refuse_folder(stream, ends.program.as_ref())?;
        }
        program_ends[index] = ends.program;
        parent_ends[index] = ends.parent;
    }
    let (status, init_status) = socket_pair(SocketType::SEQPACKET)?;
    let (gate, program_gate) = socket_pair(SocketType::STREAM)?;
    rustix::net::sockopt::set_socket_passcred(&gate, true)
        .map_err(parent("ask for process numbers on a socket"))?;
    let this = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
        .and_then(above_streams)
        .map_err(parent("open a descriptor for this process"))?;
    let mapped = match plan.program_ids {
        None => None,
        Some(_) => Some(pipe()?),
    };
    let network = match plan.init.contains(&Step::BeginNetwork) {
        false => None,
        true => Some(Making::new(network::make).map_err(parent("map memory for a thread"))?),
    };
    let stack = plan.shares_memory.then(Stack::new).transpose();
    let stack = stack.map_err(parent("map memory for the program's process"))?;
    let mut mount_ids = Vec::with_capacity(plan.mount_ids.len());
    for maps in &plan.mount_ids {
        let namespace = ids::user_namespace(maps).map_err(|fault| {
            LaunchError::step(
                "make a user namespace for an id-mapped mount".to_owned(),
                fault,
            )
        })?;
        mount_ids.push(above_streams(namespace).map_err(parent("move a descriptor"))?);
    }
    let command_line = if plan.init.contains(&Step::HideCommandLine) {
        stat::command_line().map_err(parent("find the command line, to hide it"))?
    } else {
        0..0
    };
    let code = command.gives_code_back.then(Code::find);
    let report = Report::new().map_err(parent("map memory for the child's report"))?;
    let kept = strings.held.kept.as_ref();
    let kept = kept.map(KeptLayer::prepare).transpose()?;
    let kept = kept
        .map(above_streams)
        .transpose()
        .map_err(parent("move a descriptor"))?;

    let init = {
        let init = Init {
            plan: &plan,
            prepared: Prepared {
                streams: program_ends
                    .each_ref()
                    .map(|end| end.as_ref().map(AsFd::as_fd)),
                gate: program_gate.as_fd(),
                status: init_status.as_fd(),
                parent: this.as_fd(),
                mapped: mapped
                    .as_ref()
                    .map(|(read, write)| (read.as_fd(), write.as_fd())),
                network: network.as_ref(),
                stack: stack.as_ref(),
                mount_ids: &mount_ids,
                secrets: &strings.held.secrets,
                argv: &strings.argv,
                envp: &strings.envp,
                report: &report,
                code: code.as_ref(),
                command_line: command_line.clone(),
            },
        };
        let cgroup = command.cgroup.as_ref().map(AsFd::as_fd);
        sys::clone_process(plan.namespaces.bits(), cgroup, || init::main(&init)).map_err(
            |errno| match (errno, cgroup) {
                (Errno::NOSYS, Some(_)) => LaunchError::IntoCgroup {
                    source: errno.into(),
                },
                _ => namespaces_refused(plan.namespaces, errno),
            },
        )?
    };
    if matches!(command.view, View::Reduced(_)) {
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(parent("close this process to tracers"))?;
    }
    if let Some(helpers) = &plan.helpers {
        map_by_helpers(helpers, &init, &status)?;
    }
    // The child's ends must be closed here before their end of file can show.
    drop((program_ends, program_gate, init_status));
    // The child has its own copies of these.
    drop((strings.held.sources, strings.held.secrets));

    Child::meet(
        Launched {
            init: init.pidfd,
            status,
            gate,
            parent_ends,
            terminal: plan
                .program
                .iter()
                .any(|step| matches!(step, Step::NewTerminal(_))),
            layers: strings.held.layers,
            kept,
            autopsy: Autopsy {
                exec: command
                    .filter
                    .as_ref()
                    .and_then(|filter| Some(filter.run(&execve_data()?).action)),
                program: command.program.clone(),
                searched: strings.searched,
                plan,
                report,
            },
        },
        command.hold || command.listen,
    )
}

/// Has the maps of init's user namespace written while it waits, and ends it if
/// that fails.
fn map_by_helpers(helpers: &Helpers, init: &Cloned, status: &OwnedFd) -> Result<(), LaunchError> {
    let mapped = helpers
        .run(init.pid)
        .map_err(LaunchError::from)
        .and_then(|()| {
            rustix::net::send(status, b"m", SendFlags::NOSIGNAL)
                .map(drop)
                .map_err(parent("tell the init process of its ids"))
        });
    if mapped.is_err() {
        // It is this process's child, and is not waited for elsewhere.
        let _sent = rustix::process::pidfd_send_signal(&init.pidfd, Signal::KILL);
        let _status =
            rustix::process::waitid(WaitId::PidFd(init.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
    mapped
}

fn pipe() -> Result<(OwnedFd, OwnedFd), LaunchError> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .and_then(|(read, write)| Ok((above_streams(read)?, above_streams(write)?)))
        .map_err(parent("make a pipe"))
}

/// Both ends close-on-exec and clear of the standard streams.
fn socket_pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), LaunchError> {
    rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .and_then(|(ours, theirs)| Ok((above_streams(ours)?, above_streams(theirs)?)))
        .map_err(parent("make a socket pair"))
}

/// Why clone failed: with namespaces, mostly a policy of the host.
pub(crate) fn namespaces_refused(namespaces: Namespaces, errno: Errno) -> LaunchError {
    let source = errno.into();
    if namespaces.is_empty() {
        LaunchError::Parent {
            what: "clone the init process",
            source,
        }
    } else {
        LaunchError::Namespaces {
            cause: Cause::of_clone(errno),
            source,
        }
    }
}

fn parent<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> LaunchError {
    move |source| LaunchError::Parent {
        what,
        source: source.into(),
    }
}

/// The call that starts the program, as the filter sees it but for the
/// addresses. `None` where nucleus has no table for this machine.
fn execve_data() -> Option<SeccompData> {
    Some(SeccompData {
        nr: u32::try_from(libc::SYS_execve).ok()?,
        arch: Arch::native()?.audit(),
        ..SeccompData::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(program: &str, path: &str, expected: &[&str]) {
        let (found, _searched) = candidates(OsStr::new(program), OsStr::new(path)).unwrap();
        let found: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn programs_are_looked_for_as_execvp_does() {
        check("ls", "/bin:/usr/bin", &["/bin/ls", "/usr/bin/ls"]);
        check("ls", "/bin:", &["/bin/ls", "./ls"]);
        check("./ls", "/bin", &["./ls"]);
        check("", "/bin", &[]);
    }

    #[test]
    fn the_filter_comes_last() {
        let mut command = Command::new("true");
        command
            .filter(nucleus_seccomp::Program::trace_all())
            .hold(true);
        let (plan, _strings) = plan(&command).unwrap();
        assert!(matches!(
            plan.program.as_slice(),
            [
                ..,
                Step::NoNewPrivs,
                Step::Hold,
                Step::Filter(..),
                Step::Exec
            ]
        ));
    }

    #[test]
    fn a_nul_byte_is_an_error_of_its_own() {
        let mut command = Command::new("true");
        command.arg("a\0b");
        assert!(matches!(
            plan(&command),
            Err(LaunchError::Nul {
                what: "argument",
                ..
            })
        ));
    }
}
