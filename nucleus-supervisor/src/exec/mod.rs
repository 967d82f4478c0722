//! Which programs may be executed, and with which arguments.
//!
//! An exec is judged twice. Before it, on what its arguments say, so that a
//! denial is an errno; but other threads can change those until the kernel has
//! read them. And once the kernel has made the new image, before its first
//! instruction: the file that is mapped and the arguments that it got are then
//! nobody else's. If they are not what was judged, they are judged again, and
//! a denial is the end of the process.

mod file;
mod glob;
mod inquiry;
mod rule;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use nucleus_seccomp::Arch;

use self::file::{File, FileId, Viewpoint};
use self::inquiry::{Inquiry, Step};
pub use self::rule::{ExecRule, ExecRuleError};
use crate::callback::{Arbiter, Context};
use crate::{
    Answers, Denial, Enforced, Enforcer, Errno, Guard, PathRules, TracedCall, TrapError, Traps,
    Verdict, When,
};

/// Longest argument list that the kernel takes (`_STK_LIM / 4 * 3`).
const ARGUMENTS_MAX: usize = 6 << 20;

/// How often an interpreter may be a script itself (`exec_binprm`).
const DEPTH: usize = 5;

/// Rules on what may be executed. What a rule denies is denied; where there are
/// rules that allow, all else is denied too, but for the program that the
/// sandbox was made for.
///
/// A script is judged together with its interpreter, each as an executable of
/// its own: an interpreter that may be executed can run any text. An executable
/// that no folder holds is denied. Rules are about executing files: they do not
/// keep a program from mapping code or from being a copy under another name.
#[derive(Debug)]
pub struct ExecPolicy {
    allowed: Option<Vec<ExecRule>>,
    denied: Vec<ExecRule>,
    /// The arguments matter to some rule.
    wants_arguments: bool,
    started: bool,
    /// What each thread was let execute.
    judged: BTreeMap<u32, Image>,
    refused: BTreeMap<Vec<u8>, u64>,
    killed: BTreeMap<Vec<u8>, u64>,
    inquiry: Option<Inquiry>,
    paths: Option<PathRules>,
    tightened: Option<Context>,
    last: Option<Denial>,
}

/// An executable and its arguments, which are empty when no rule wants them.
#[derive(Debug, PartialEq, Eq)]
struct Image {
    file: FileId,
    arguments: Vec<Vec<u8>>,
}

impl ExecPolicy {
    /// `allowed` is `None` where what is not denied is allowed; an empty list
    /// allows nothing.
    #[must_use]
    pub fn new(allowed: Option<Vec<ExecRule>>, denied: Vec<ExecRule>) -> Self {
        let rules = || allowed.iter().flatten().chain(&denied);
        Self {
            wants_arguments: rules().any(ExecRule::wants_arguments),
            allowed,
            denied,
            started: false,
            judged: BTreeMap::new(),
            refused: BTreeMap::new(),
            killed: BTreeMap::new(),
            inquiry: None,
            paths: None,
            tightened: None,
            last: None,
        }
    }

    /// Denies what rules on paths deny, too: the file and those that interpret
    /// it.
    #[must_use]
    pub fn with_paths(mut self, rules: PathRules) -> Self {
        self.paths = Some(rules);
        self
    }

    /// Asks about every program that the rules let be executed, the first one
    /// included, and about its interpreters; each with all arguments. What runs
    /// in the end must be what was asked about.
    #[must_use]
    pub fn ask(mut self, arbiter: Arbiter) -> Self {
        self.wants_arguments = true;
        self = self.tightened_by(arbiter.context());
        self.inquiry = Some(Inquiry::new(arbiter));
        self
    }

    /// Denies the paths that a callback has taken away, without asking it.
    #[must_use]
    pub fn tightened_by(mut self, context: &Context) -> Self {
        self.tightened = Some(context.clone());
        self
    }

    /// Judges one executable.
    fn allows(&self, view: &Viewpoint, file: &File, arguments: &[Vec<u8>], free: bool) -> bool {
        let Some(path) = &file.path else {
            return false;
        };
        let matches = |rule: &ExecRule| {
            let is_file = |path: &[u8]| view.id_at(path) == Some(file.id);
            rule.matches(path, arguments, is_file)
        };
        let allowed = self.allowed.as_ref();
        !self.denied.iter().any(matches)
            && (free || allowed.is_none_or(|rules| rules.iter().any(matches)))
    }

    /// Judges one executable by the rules on paths.
    fn path_allows(&self, view: &Viewpoint, file: &File) -> Result<(), Errno> {
        match &self.paths {
            Some(rules) => rules.judge(view.root(), file.as_fd()),
            None => Ok(()),
        }
    }

    /// Judges one executable by what was taken away from a process meanwhile.
    fn is_left(&self, process: u32, view: &Viewpoint, file: &File) -> Result<(), Errno> {
        match &self.tightened {
            Some(context) => context.judge(process, view.root(), file.as_fd()),
            None => Ok(()),
        }
    }

    /// Why one is not allowed.
    fn reason(&self, view: &Viewpoint, file: &File, arguments: &[Vec<u8>]) -> Denial {
        let Some(path) = &file.path else {
            return Denial {
                what: "execute a file without a name".to_owned(),
                why: "a file that no folder holds cannot be allowed".to_owned(),
                remedy: None,
            };
        };
        let name = path.escape_ascii();
        if self.path_allows(view, file).is_err() {
            return Denial {
                what: format!("execute {name}"),
                why: "a rule on paths denies it".to_owned(),
                remedy: Some(format!("add --path-grant {name}")),
            };
        }
        let is_file = |path: &[u8]| view.id_at(path) == Some(file.id);
        let mut denied = self.denied.iter();
        let (why, remedy) = match denied.find(|rule| rule.matches(path, arguments, is_file)) {
            Some(rule) => {
                let rule = format!("--exec-deny '{rule}'");
                (format!("{rule} denies it"), format!("leave out {rule}"))
            }
            None => (
                "no rule allows it".to_owned(),
                format!("add --exec-allow '{name}'"),
            ),
        };
        Denial {
            what: format!("execute {name}"),
            why,
            remedy: Some(remedy),
        }
    }

    fn judge(&mut self, call: &TracedCall) -> Result<(Image, Vec<Step>), Errno> {
        let data = &call.data;
        let is_at = match data.syscall().and_then(nucleus_seccomp::Syscall::name) {
            Some("execve") => false,
            Some("execveat") => true,
            _ => return Err(Errno::NOSYS),
        };
        let [first, second, third, ..] = data.args;
        let (path, vector) = if is_at {
            (second, third)
        } else {
            (first, second)
        };
        let folder = is_at.then(|| call.int(0).cast_signed());
        let folder = folder.filter(|&folder| folder != libc::AT_FDCWD);
        let flags = if is_at { call.int(4).cast_signed() } else { 0 };
        let memory = crate::memory_of(call);
        let path = memory.path(path).map_err(|error| error.errno())?;
        if path.is_empty() && flags & libc::AT_EMPTY_PATH == 0 {
            return Err(Errno::NOENT);
        }
        let mut arguments = Vec::new();
        if self.wants_arguments {
            let read = memory.strings(vector, ARGUMENTS_MAX);
            arguments = read.map_err(|error| error.errno())?;
            if arguments.is_empty() {
                // Since 5.18 there is always one.
                arguments.push(Vec::new());
            }
        }
        let name = name_for_interpreter(folder, &path);
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
        let view = Viewpoint::of(call.task.thread, call.task.process)?;
        let file = view.find(folder, &path, follow)?;
        self.judge_chain(call, &view, file, name, arguments)
    }

    /// Judges the executable, its interpreter, that one's interpreter...
    fn judge_chain(
        &mut self,
        call: &TracedCall,
        view: &Viewpoint,
        mut file: File,
        mut name: Vec<u8>,
        mut arguments: Vec<Vec<u8>>,
    ) -> Result<(Image, Vec<Step>), Errno> {
        let free = !self.started;
        let mut steps = Vec::new();
        for _ in 0..DEPTH {
            let left = self.is_left(call.task.process, view, &file);
            let allowed = match self.path_allows(view, &file) {
                Ok(()) if self.allows(view, &file, &arguments, free) => left,
                Ok(()) => Err(Errno::ACCESS),
                denied => denied,
            };
            if let Err(errno) = allowed {
                if let Some(inquiry) = &self.inquiry {
                    let step = Step::new(file.path.as_deref(), &arguments);
                    inquiry.tell_denied(call, step);
                }
                self.last = Some(match left {
                    Ok(()) => self.reason(view, &file, &arguments),
                    Err(_taken) => denied_when_asked(),
                });
                count(&mut self.refused, file.path);
                return Err(errno);
            }
            if self.inquiry.is_some() {
                steps.push(Step::new(file.path.as_deref(), &arguments));
            }
            let Some(interpreter) = file.interpreter()? else {
                let image = Image {
                    file: file.id,
                    arguments,
                };
                return Ok((image, steps));
            };
            file = view.find(None, &interpreter.path, true)?;
            if self.wants_arguments {
                // The kernel puts these in place of the first.
                let mut with = vec![interpreter.path.clone()];
                with.extend(interpreter.argument);
                with.push(name);
                arguments.splice(..1, with);
            }
            name = interpreter.path;
        }
        Err(Errno::LOOP)
    }

    /// Judges what a process is about to run.
    fn judge_image(&mut self, process: u32, judged: Option<&Image>) -> Result<(), Errno> {
        let file = File::executed_by(process)?;
        let arguments = match self.wants_arguments {
            true => arguments_of(process)?,
            false => Vec::new(),
        };
        let image = Image {
            file: file.id,
            arguments,
        };
        // What was taken away while somebody was asked about it is denied, too.
        if judged == Some(&image) && self.tightened.is_none() {
            return Ok(());
        }
        let view = Viewpoint::of(process, process)?;
        let left = self.is_left(process, &view, &file);
        if judged == Some(&image) && left.is_ok() {
            return Ok(());
        }
        // Nobody was asked about this one.
        let asked = self.inquiry.is_none();
        if asked
            && left.is_ok()
            && self.path_allows(&view, &file).is_ok()
            && self.allows(&view, &file, &image.arguments, false)
        {
            return Ok(());
        }
        self.last = Some(self.reason(&view, &file, &image.arguments));
        count(&mut self.killed, file.path);
        Err(Errno::ACCESS)
    }
}

fn denied_when_asked() -> Denial {
    Denial {
        what: "execute a program".to_owned(),
        why: "the policy that is asked denies it".to_owned(),
        remedy: None,
    }
}

fn count(counts: &mut BTreeMap<Vec<u8>, u64>, path: Option<Vec<u8>>) {
    let path = path.unwrap_or_else(|| b"a file without a name".to_vec());
    *counts.entry(path).or_default() += 1;
}

/// By which path the kernel lets an interpreter open a script (`alloc_bprm`).
fn name_for_interpreter(folder: Option<i32>, path: &[u8]) -> Vec<u8> {
    match folder {
        Some(folder) if path.is_empty() => format!("/dev/fd/{folder}").into_bytes(),
        Some(folder) if !path.starts_with(b"/") => {
            let mut name = format!("/dev/fd/{folder}/").into_bytes();
            name.extend_from_slice(path);
            name
        }
        _ => path.to_vec(),
    }
}

/// What a program that has not run yet was called with.
fn arguments_of(process: u32) -> Result<Vec<Vec<u8>>, Errno> {
    let bytes = std::fs::read(format!("/proc/{process}/cmdline"))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut arguments: Vec<Vec<u8>> = bytes.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
    // Each ends with a NUL.
    arguments.pop();
    Ok(arguments)
}

impl Guard for ExecPolicy {
    fn enforced(&self) -> Vec<Enforced> {
        let allowed = self.allowed.iter().flatten();
        let rest = self.allowed.iter().map(|_| {
            "execute nothing else but the program that the sandbox is made for".to_owned()
        });
        let asked = self
            .inquiry
            .iter()
            .map(|_| "what the policy says of each program to execute".to_owned());
        let by_paths = self
            .paths
            .iter()
            .map(|_| "never execute what a rule on paths denies".to_owned());
        allowed
            .map(|rule| format!("execute {rule}"))
            .chain(
                self.denied
                    .iter()
                    .map(|rule| format!("never execute {rule}")),
            )
            .chain(rest)
            .chain(by_paths)
            .chain(asked)
            .map(|rule| Enforced {
                rule,
                by: Enforcer::Tracer,
            })
            .collect()
    }

    fn trap(&self, traps: &mut Traps) -> Result<(), TrapError> {
        for arch in Arch::ALL {
            for name in ["execve", "execveat"] {
                if let Some(call) = nucleus_seccomp::Syscall::by_name(arch, name) {
                    traps.add(call, When::Always)?;
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, call: &TracedCall) -> Verdict {
        let name = call.data.syscall().and_then(nucleus_seccomp::Syscall::name);
        if !matches!(name, Some("execve" | "execveat")) {
            return Verdict::Go;
        }
        self.last = None;
        match self.judge(call) {
            Ok((image, steps)) => {
                self.judged.insert(call.task.thread, image);
                match &self.inquiry {
                    Some(inquiry) => inquiry.ask(call, steps),
                    None => Verdict::Go,
                }
            }
            Err(errno) => {
                self.judged.remove(&call.task.thread);
                Verdict::Errno(errno)
            }
        }
    }

    fn answers(&self) -> Option<Arc<Answers>> {
        self.inquiry.as_ref().map(Inquiry::answers)
    }

    fn over(&mut self, thread: u32) {
        self.judged.remove(&thread);
    }

    fn executed(&mut self, process: u32, former: u32) -> bool {
        let judged = self.judged.remove(&former);
        let runs = self.judge_image(process, judged.as_ref()).is_ok();
        self.started = true;
        runs
    }

    fn ended(&mut self, task: crate::Task) {
        self.judged.remove(&task.thread);
    }

    fn denial(&mut self) -> Option<Denial> {
        let asked = self.inquiry.is_some().then(denied_when_asked);
        self.last.take().or(asked)
    }

    fn report(&self) -> Vec<String> {
        let refused = self
            .refused
            .iter()
            .map(|(path, count)| format!("exec of {} refused {count} times", path.escape_ascii()));
        let killed = self.killed.iter().map(|(path, count)| {
            format!(
                "{count} processes killed that came to {} by changing what was judged",
                path.escape_ascii()
            )
        });
        refused.chain(killed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nucleus_seccomp::{Action, SeccompData, Syscall};

    #[test]
    fn an_exec_of_any_architecture_is_trapped() {
        let mut traps = Traps::for_tracer();
        ExecPolicy::new(None, Vec::new())
            .trap(&mut traps)
            .expect("valid");
        for arch in [Arch::X86_64, Arch::X32, Arch::I386, Arch::Aarch64] {
            for name in ["execve", "execveat"] {
                let call = Syscall::by_name(arch, name).expect("in the table");
                let data = SeccompData {
                    nr: call.number(),
                    arch: arch.audit(),
                    instruction_pointer: 0,
                    args: [0; 6],
                };
                let asked = Action::Trace(nucleus_tracer::ASK);
                assert_eq!(traps.decide(&data), asked, "{arch:?} {name}");
            }
        }
    }

    #[test]
    fn interpreters_open_scripts_by_the_name_that_the_kernel_gives() {
        let name = |folder, path: &str| name_for_interpreter(folder, path.as_bytes());
        assert_eq!(name(None, "./script"), b"./script");
        assert_eq!(name(Some(3), "/a/script"), b"/a/script");
        assert_eq!(name(Some(3), "script"), b"/dev/fd/3/script");
        assert_eq!(name(Some(3), ""), b"/dev/fd/3");
    }
}
