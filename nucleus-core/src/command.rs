//! What to start, and how.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};

use nucleus_seccomp::{InstallFlags, Program};

use crate::child::Child;
use crate::environment::Environment;
use crate::error::LaunchError;
use crate::isolation::Isolation;
use crate::launch;
use crate::plan::Plan;
use crate::stdio::Stdio;

/// What the program can see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum View {
    /// All that this process sees: no namespace, no mount, no drop of
    /// privilege. The filter is the only thing between the program and the
    /// system.
    #[default]
    Host,
    /// A sandbox. The environment is cleared but for what names languages,
    /// the terminal, PATH and HOME.
    Isolated(Isolation),
    /// What of a sandbox an unprivileged user can have where the host forbids
    /// user namespaces: Landlock, limits, no_new_privs, a clean environment
    /// without a home, no capability. Everything else is the host's: the
    /// program sees its processes, and of its files what Landlock leaves,
    /// where they are. Landlock does not forbid to change modes, owners and
    /// times, nor sockets and IPC: use [`Profile::sandbox_reduced`] for the
    /// filter. This process becomes non-dumpable (prctl(2)), so that the
    /// program, whose user is the same, cannot trace it.
    ///
    /// [`Profile::sandbox_reduced`]: nucleus_seccomp::Profile::sandbox_reduced
    Reduced(Isolation),
}

/// A program to start, as [`std::process::Command`].
///
/// See the [crate's documentation](crate) for an example.
#[derive(Debug)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Environment,
    pub(crate) current_dir: Option<PathBuf>,
    pub(crate) streams: [Stdio; 3],
    pub(crate) view: View,
    pub(crate) filter: Option<Program>,
    pub(crate) filter_flags: InstallFlags,
    pub(crate) hold: bool,
    pub(crate) listen: bool,
    pub(crate) cgroup: Option<OwnedFd>,
    pub(crate) gives_code_back: bool,
}

impl Command {
    /// A program by path when there is a slash in it, otherwise by the PATH
    /// that it will be started with. No arguments, streams inherited, the
    /// host's view.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Environment::default(),
            current_dir: None,
            streams: Default::default(),
            view: View::default(),
            filter: None,
            filter_flags: InstallFlags::empty(),
            hold: false,
            listen: false,
            cgroup: None,
            gives_code_back: false,
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        for arg in args {
            self.arg(arg);
        }
        self
    }

    /// Sets a variable of the environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.env.set(name.as_ref(), value.as_ref());
        self
    }

    /// Sets variables of the environment.
    pub fn envs(
        &mut self,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Self {
        for (name, value) in variables {
            self.env(name, value);
        }
        self
    }

    /// Removes a variable from the environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.env.remove(name.as_ref());
        self
    }

    /// Starts from an empty environment, and forgets what was set so far.
    pub fn env_clear(&mut self) -> &mut Self {
        self.env.clear();
        self
    }

    /// The program's working directory. A relative path to the program is
    /// taken from there.
    pub fn current_dir(&mut self, folder: impl AsRef<Path>) -> &mut Self {
        self.current_dir = Some(folder.as_ref().to_owned());
        self
    }

    /// Where stdin comes from.
    pub fn stdin(&mut self, stdin: impl Into<Stdio>) -> &mut Self {
        self.streams[0] = stdin.into();
        self
    }

    /// Where stdout goes to.
    pub fn stdout(&mut self, stdout: impl Into<Stdio>) -> &mut Self {
        self.streams[1] = stdout.into();
        self
    }

    /// Where stderr goes to.
    pub fn stderr(&mut self, stderr: impl Into<Stdio>) -> &mut Self {
        self.streams[2] = stderr.into();
        self
    }

    /// What the program can see.
    pub fn view(&mut self, view: View) -> &mut Self {
        self.view = view;
        self
    }

    /// The filter to install right before exec; sets no_new_privs too. It
    /// must allow execve.
    pub fn filter(&mut self, filter: Program) -> &mut Self {
        self.filter = Some(filter);
        self
    }

    /// The flags to install the filter with, such as
    /// [`LOG`](InstallFlags::LOG); none by default.
    pub fn filter_flags(&mut self, flags: InstallFlags) -> &mut Self {
        self.filter_flags = flags;
        self
    }

    /// Whether somebody answers the filter's `Notify` verdicts: the program
    /// waits, as with [`Command::hold`], for [`Child::take_listener`].
    pub fn listen(&mut self, listen: bool) -> &mut Self {
        self.listen = listen;
        self
    }

    /// Puts everything that is started into this cgroup (v2), from its first
    /// instruction on: an open directory of the hierarchy. One task of its
    /// own, init, counts there besides the program.
    pub fn cgroup(&mut self, directory: OwnedFd) -> &mut Self {
        self.cgroup = Some(directory);
        self
    }

    /// Whether the program waits, right before the filter is installed, for
    /// [`Child::release`]: time to attach a tracer, which has `CAP_SYS_PTRACE` if
    /// the thread that spawns has it.
    pub fn hold(&mut self, hold: bool) -> &mut Self {
        self.hold = hold;
        self
    }

    /// Whether init, a copy of this process, lets go of the code and constants
    /// that it has used so far, as [`give_back_code`](crate::give_back_code)
    /// does: its end, and so the program's, is then sooner there.
    pub fn give_code_back(&mut self, give: bool) -> &mut Self {
        self.gives_code_back = give;
        self
    }

    /// What [`Command::spawn`] would do.
    ///
    /// # Errors
    ///
    /// What can be found wrong without starting anything.
    pub fn plan(&self) -> Result<Plan, LaunchError> {
        launch::plan(self).map(|(plan, _strings)| plan)
    }

    /// Starts the program, and returns once it is executing (or held).
    ///
    /// # Errors
    ///
    /// Why it did not start; nothing of it is left then.
    pub fn spawn(&mut self) -> Result<Child, LaunchError> {
        launch::spawn(self)
    }

    /// Starts the program and waits for it.
    ///
    /// # Errors
    ///
    /// As for [`Command::spawn`] and [`Child::wait`].
    pub fn status(&mut self) -> Result<ExitStatus, LaunchError> {
        self.spawn()?.wait()
    }

    /// Starts the program and collects what it writes. Streams that were not
    /// set are piped, stdin is empty.
    ///
    /// # Errors
    ///
    /// As for [`Command::spawn`] and [`Child::wait_with_output`].
    pub fn output(&mut self) -> Result<Output, LaunchError> {
        for (index, stream) in self.streams.iter_mut().enumerate() {
            if matches!(stream, Stdio::Inherit) {
                *stream = if index == 0 {
                    Stdio::Null
                } else {
                    Stdio::Piped
                };
            }
        }
        self.spawn()?.wait_with_output()
    }
}
