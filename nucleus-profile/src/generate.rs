//! Profiles out of traces.

use std::collections::{BTreeMap, BTreeSet};

use nucleus_seccomp::{
    Action, Arch, Architectures, ArgTest, CallName, Comparison, Completeness, OciArch, Profile,
    Rule, Syscall,
};

use crate::arguments::{Argument, Width};
use crate::{Arguments, Call, Error, Trace, unseen};

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// How a profile is made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GenerateOptions {
    /// The native architecture of the machines that the profile is for; the
    /// traces must have been recorded on such.
    pub arch: Arch,
    /// The answer to calls that the traces do not hold. `None`: EPERM, but
    /// ENOSYS to those that C libraries and language runtimes probe for.
    pub default_action: Option<Action>,
    /// Take traces that are known to miss calls.
    pub allow_incomplete: bool,
    /// Allow calls such as socket, ioctl and prctl only with the arguments
    /// that were seen. The kernel cannot cache the verdict on those calls.
    pub narrow_arguments: bool,
}

impl GenerateOptions {
    /// A profile for machines of `arch` with the defaults.
    #[must_use]
    pub const fn new(arch: Arch) -> Self {
        Self {
            arch,
            default_action: None,
            allow_incomplete: false,
            narrow_arguments: false,
        }
    }
}

/// The calls of all traces, or `None` without any trace.
pub(crate) fn merge(traces: &[Trace]) -> Result<Option<Trace>, Error> {
    let Some((first, rest)) = traces.split_first() else {
        return Ok(None);
    };
    let mut merged = first.clone();
    for trace in rest {
        merged.merge(trace)?;
    }
    Ok(Some(merged))
}

/// The smallest profile under which the traced runs would have gone as they went.
///
/// Allowed is what the traces hold, and a few calls that they need not hold
/// although the program needs them: those to start, end and return from a
/// signal, and in a program with threads those that depend on the schedule.
/// Everything else gets EPERM, or ENOSYS where programs probe for a call and do
/// without, or [`GenerateOptions::default_action`]. Each such group is a rule
/// with a comment; the profile's comment names the traced commands. OCI
/// runtimes ignore both. The same traces give the same profile, in any order.
///
/// The architectures of all calls are listed. A profile names calls for all of
/// them alike: [`notes`](crate::notes) says which calls are thereby allowed where they were
/// not seen.
///
/// # Errors
///
/// - [`Error::Incomplete`] for a trace that misses calls, unless allowed,
/// - [`Error::OtherArch`] for one of another machine,
/// - [`Error::NothingToAllow`] without any call,
/// - [`Error::PermissiveDefault`] for a default action that allows,
/// - [`Error::CountOverflow`] as [`Trace::merge`].
pub fn generate(traces: &[Trace], options: &GenerateOptions) -> Result<Profile, Error> {
    let default_action = options.default_action.unwrap_or(Action::Errno(EPERM));
    if !default_action.is_denial() && default_action != Action::Log {
        return Err(Error::PermissiveDefault(default_action));
    }
    for (trace, position) in traces.iter().zip(1..) {
        check(trace, position, options)?;
    }
    let merged = merge(traces)?.ok_or(Error::NothingToAllow)?;
    let seen = by_name(&merged);
    if seen.is_empty() {
        return Err(Error::NothingToAllow);
    }
    let archs: BTreeSet<Arch> = merged
        .calls
        .keys()
        .map(|syscall| syscall.arch())
        .chain([options.arch])
        .collect();

    let mut rules = allow_seen(&seen, options.narrow_arguments);
    let mut said: BTreeSet<&str> = seen.keys().copied().collect();
    let mut add = |names: &mut dyn Iterator<Item = &'static str>, action, comment: &str| {
        let calls: Vec<_> = names
            .filter(|name| {
                archs
                    .iter()
                    .any(|arch| Syscall::by_name(*arch, name).is_some())
            })
            .filter(|name| said.insert(name))
            .map(CallName::from)
            .collect();
        if !calls.is_empty() {
            let mut rule = Rule::new(calls, action);
            rule.comment = Some(comment.to_owned());
            rules.push(rule);
        }
    };
    add(
        &mut unseen::ALWAYS.iter().copied(),
        Action::Allow,
        "not seen; every program needs them to start, to end and to return from a signal",
    );
    add(
        &mut unseen::by_schedule(&merged).into_iter(),
        Action::Allow,
        "not seen; whether a program with threads makes them depends on the schedule",
    );
    if options.default_action.is_none() {
        add(
            &mut unseen::probed(),
            Action::Errno(ENOSYS),
            "not seen; programs that probe for them do without when they are told ENOSYS",
        );
    }
    let mut profile = Profile::new(default_action);
    profile.architectures = Architectures::Listed(archs.into_iter().map(OciArch::from).collect());
    profile.rules = rules;
    profile.comment = Some(provenance(traces));
    Ok(profile)
}

/// What the profile is made of, without anything that differs between two runs
/// of the same program.
fn provenance(traces: &[Trace]) -> String {
    let mut origins: BTreeMap<String, usize> = BTreeMap::new();
    for trace in traces {
        *origins.entry(describe(trace)).or_default() += 1;
    }
    let origins: Vec<_> = origins
        .into_iter()
        .map(|(origin, count)| match count {
            1 => format!("a trace{origin}"),
            _ => format!("{count} traces{origin}"),
        })
        .collect();
    format!(
        "generated by nucleus {} from {}",
        env!("CARGO_PKG_VERSION"),
        origins.join("; ")
    )
}

/// ` of "ls -l" by ptrace on Linux 6.18.0`, as far as it is known.
fn describe(trace: &Trace) -> String {
    let origin = &trace.origin;
    let mut text = String::new();
    if !origin.command.is_empty() {
        let words: Vec<_> = origin
            .command
            .iter()
            .map(|word| word.display().to_string())
            .collect();
        text += &format!(" of {:?}", words.join(" "));
    }
    if !origin.source.is_empty() {
        text += &format!(" by {}", origin.source);
    }
    if !origin.kernel.is_empty() {
        text += &format!(" on Linux {}", origin.kernel);
    }
    if let Completeness::Incomplete { why, .. } = &trace.completeness {
        text += &format!(", incomplete: {}", why.join("; "));
    }
    text
}

/// Refuses a trace that would make a wrong profile.
fn check(trace: &Trace, position: usize, options: &GenerateOptions) -> Result<(), Error> {
    if let Completeness::Incomplete { why, .. } = &trace.completeness
        && !options.allow_incomplete
    {
        return Err(Error::Incomplete {
            trace: position,
            why: why.join("; "),
        });
    }
    let wanted = options.arch;
    let archs = trace.calls.keys().map(|syscall| syscall.arch());
    let foreign = trace
        .origin
        .arch
        .into_iter()
        .chain(archs)
        .find(|arch| family(*arch) != family(wanted));
    match foreign {
        Some(found) => Err(Error::OtherArch {
            trace: position,
            found,
            wanted,
        }),
        None => Ok(()),
    }
}

/// The 64-bit architecture of the machines on which programs of `arch` run.
const fn family(arch: Arch) -> Arch {
    match arch {
        Arch::X86_64 | Arch::X32 | Arch::I386 => Arch::X86_64,
        Arch::Aarch64 => Arch::Aarch64,
        Arch::Riscv64 => Arch::Riscv64,
    }
}

/// The named calls of a trace, those of all architectures together.
fn by_name(trace: &Trace) -> BTreeMap<&'static str, Call> {
    let mut calls: BTreeMap<&'static str, Call> = BTreeMap::new();
    for (syscall, call) in &trace.calls {
        let Some(name) = syscall.name() else { continue };
        calls
            .entry(name)
            .and_modify(|known| {
                known.count += call.count;
                known.arguments.merge(&call.arguments);
            })
            .or_insert_with(|| call.clone());
    }
    calls
}

/// One rule for all calls without conditions, then one for each combination
/// of arguments.
fn allow_seen(seen: &BTreeMap<&'static str, Call>, narrow: bool) -> Vec<Rule> {
    let mut any = Vec::new();
    let mut narrowed = Vec::new();
    for (name, call) in seen {
        match &call.arguments {
            Arguments::Seen(combinations) if narrow => {
                narrowed.extend(combinations.rows().map(|row| {
                    let pairs = combinations.selection().iter().zip(row);
                    let tests = pairs.map(|(argument, value)| test(argument, *value));
                    Rule::new(vec![CallName::from(*name)], Action::Allow).when(tests.collect())
                }));
            }
            _ => any.push(CallName::from(*name)),
        }
    }
    let any = (!any.is_empty()).then(|| Rule::new(any, Action::Allow));
    any.into_iter().chain(narrowed).collect()
}

/// Compares the bits of the argument that the kernel reads.
const fn test(argument: &Argument, value: u64) -> ArgTest {
    let comparison = match argument.width {
        Width::Int => Comparison::MaskedEqual {
            mask: Width::Int.mask(),
            value,
        },
        Width::Long => Comparison::Equal(value),
    };
    ArgTest {
        index: argument.index,
        comparison,
    }
}

#[cfg(test)]
mod tests {
    use nucleus_seccomp::{SeccompData, When};

    use super::*;
    use crate::{Origin, Recorder};

    fn trace(calls: &[(Arch, &str, [u64; 3])]) -> Trace {
        let mut recorder = Recorder::new();
        for (arch, name, [a, b, c]) in calls {
            recorder.record(&SeccompData {
                nr: Syscall::by_name(*arch, name).unwrap().number(),
                arch: arch.audit(),
                instruction_pointer: 0,
                args: [*a, *b, *c, 0, 0, 0],
            });
        }
        let origin = Origin {
            arch: calls.first().map(|(arch, ..)| family(*arch)),
            ..Origin::default()
        };
        recorder.finish(origin, Completeness::Complete)
    }

    fn plain(names: &[&str]) -> Trace {
        let calls: Vec<_> = names
            .iter()
            .map(|name| (Arch::X86_64, *name, [0; 3]))
            .collect();
        trace(&calls)
    }

    fn calls(names: &[&str]) -> Vec<CallName> {
        names.iter().map(|name| CallName::from(*name)).collect()
    }

    fn listed(archs: &[Arch]) -> Architectures {
        Architectures::Listed(archs.iter().map(|arch| OciArch::from(*arch)).collect())
    }

    fn x86_64() -> GenerateOptions {
        GenerateOptions::new(Arch::X86_64)
    }

    /// The action of the rule without conditions that names the call.
    fn action(profile: &Profile, name: &str) -> Option<Action> {
        let name = CallName::from(name);
        let mut rules = profile
            .rules
            .iter()
            .filter(|rule| rule.calls.contains(&name) && rule.when == When::Always);
        let found = rules.next().map(|rule| rule.action);
        assert!(rules.next().is_none(), "{name:?} has two rules");
        found
    }

    #[test]
    fn what_was_seen_is_allowed_and_the_rest_is_not() {
        let profile = generate(&[plain(&["read", "execve", "openat"])], &x86_64()).unwrap();
        assert_eq!(profile.architectures, listed(&[Arch::X86_64]));
        assert_eq!(profile.default_action, Action::Errno(EPERM));
        assert_eq!(profile.rules[0].calls, calls(&["execve", "openat", "read"]));
        let check = |name, expected| assert_eq!(action(&profile, name), expected, "{name}");
        check("read", Some(Action::Allow));
        check("write", None);
        check("exit_group", Some(Action::Allow));
        check("rt_sigreturn", Some(Action::Allow));
        check("clone3", Some(Action::Errno(ENOSYS)));
        check("futex", None);
        // Not of this architecture.
        check("sigreturn", None);
        check("futex_time64", None);
    }

    #[test]
    fn a_default_action_is_for_every_call() {
        let options = GenerateOptions {
            default_action: Some(Action::KillProcess),
            ..x86_64()
        };
        let profile = generate(&[plain(&["read"])], &options).unwrap();
        assert_eq!(profile.default_action, Action::KillProcess);
        assert!(
            profile
                .rules
                .iter()
                .all(|rule| rule.action == Action::Allow)
        );
    }

    #[test]
    fn programs_with_threads_may_wait() {
        let check = |calls: &[(Arch, &str, [u64; 3])], expected| {
            let profile = generate(&[trace(calls)], &x86_64()).unwrap();
            assert_eq!(action(&profile, "futex"), expected, "{calls:?}");
        };
        const FORK: u64 = 0x0120_0011;
        const THREAD: u64 = 0x003d_0f00;
        check(&[(Arch::X86_64, "clone", [FORK, 0, 0])], None);
        check(
            &[(Arch::X86_64, "clone", [THREAD, 0, 0])],
            Some(Action::Allow),
        );
        check(&[(Arch::X86_64, "clone3", [0; 3])], Some(Action::Allow));
    }

    #[test]
    fn several_traces_make_one_profile() {
        let traces = [plain(&["read", "write"]), plain(&["write", "close"])];
        let together = generate(&traces, &x86_64()).unwrap();
        assert_eq!(together.rules[0].calls, calls(&["close", "read", "write"]));
        let [first, second] = traces;
        assert_eq!(generate(&[second, first], &x86_64()).unwrap(), together);
    }

    #[test]
    fn arguments_narrow_when_asked() {
        let seen = trace(&[
            (Arch::X86_64, "socket", [1, 1, 0]),
            (Arch::X86_64, "socket", [16, 3, 0]),
            (Arch::X86_64, "read", [0; 3]),
        ]);
        let wide = generate(std::slice::from_ref(&seen), &x86_64()).unwrap();
        assert_eq!(action(&wide, "socket"), Some(Action::Allow));

        let options = GenerateOptions {
            narrow_arguments: true,
            ..x86_64()
        };
        let narrow = generate(&[seen], &options).unwrap();
        assert_eq!(action(&narrow, "socket"), None);
        assert_eq!(action(&narrow, "read"), Some(Action::Allow));
        let socket: Vec<_> = narrow
            .rules
            .iter()
            .filter(|rule| rule.calls == calls(&["socket"]))
            .map(|rule| match &rule.when {
                When::Always => panic!("{rule:?}"),
                When::Args(tests) => tests.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
            .collect();
        let low = "& 0xffffffff ==";
        assert_eq!(
            socket,
            [
                [
                    format!("arg0 {low} 0x1"),
                    format!("arg1 {low} 0x1"),
                    format!("arg2 {low} 0x0")
                ],
                [
                    format!("arg0 {low} 0x10"),
                    format!("arg1 {low} 0x3"),
                    format!("arg2 {low} 0x0")
                ],
            ]
        );
    }

    #[test]
    fn what_would_make_a_wrong_profile_is_refused() {
        fn refused(traces: &[Trace], options: &GenerateOptions) -> String {
            generate(traces, options).unwrap_err().to_string()
        }
        let empty = Recorder::new().finish(Origin::default(), Completeness::Complete);
        assert!(refused(&[], &x86_64()).contains("no call"));
        assert!(refused(&[empty], &x86_64()).contains("no call"));

        let mut lossy = plain(&["read"]);
        lossy.completeness.lose(Some(3), "the disk was full");
        let traces = [plain(&["read"]), lossy];
        let message = refused(&traces, &x86_64());
        assert!(
            message.contains("trace 2 is incomplete (the disk was full)"),
            "{message}"
        );
        let options = GenerateOptions {
            allow_incomplete: true,
            ..x86_64()
        };
        assert!(generate(&traces, &options).is_ok());

        let message = refused(&[plain(&["read"])], &GenerateOptions::new(Arch::Aarch64));
        assert!(
            message.contains("recorded on x86_64, the profile is for aarch64"),
            "{message}"
        );
    }

    #[test]
    fn other_architectures_are_listed() {
        let traces = [trace(&[
            (Arch::X86_64, "execve", [0; 3]),
            (Arch::I386, "open", [0; 3]),
        ])];
        let profile = generate(&traces, &x86_64()).unwrap();
        assert_eq!(profile.architectures, listed(&[Arch::X86_64, Arch::I386]));
        assert_eq!(action(&profile, "sigreturn"), Some(Action::Allow));
    }

    #[test]
    fn a_number_without_a_name_is_left_out() {
        let mut recorder = Recorder::new();
        for nr in [0, 511] {
            recorder.record_without_arguments(Arch::Aarch64.audit(), nr);
        }
        let traces = [recorder.finish(Origin::default(), Completeness::Complete)];
        let profile = generate(&traces, &GenerateOptions::new(Arch::Aarch64)).unwrap();
        assert_eq!(profile.rules[0].calls, calls(&["io_setup"]));
    }

    #[test]
    fn a_default_that_allows_is_refused() {
        for action in [Action::Allow, Action::Notify, Action::Trace(0)] {
            let options = GenerateOptions {
                default_action: Some(action),
                ..x86_64()
            };
            let error = generate(&[plain(&["read"])], &options).unwrap_err();
            assert!(error.to_string().contains("forbid nothing"), "{error}");
        }
    }

    #[test]
    fn the_comment_names_the_commands_and_no_run() {
        let mut first = plain(&["read"]);
        first.origin.command = vec!["cat".into(), "a file".into()];
        first.origin.source = "ptrace".into();
        first.origin.kernel = "6.18.0".into();
        let mut second = first.clone();
        second.merge(&first).unwrap();
        let comment = |traces: &[Trace]| generate(traces, &x86_64()).unwrap().comment.unwrap();
        let one = comment(std::slice::from_ref(&first));
        let origin = "of \"cat a file\" by ptrace on Linux 6.18.0";
        assert!(one.ends_with(&format!(" from a trace {origin}")), "{one}");
        assert_eq!(comment(std::slice::from_ref(&second)), one);
        let two = comment(&[first, second]);
        assert!(two.ends_with(&format!(" from 2 traces {origin}")), "{two}");
    }
}
