//! Which calls are trapped: as data, and as a filter program.

mod emit;
mod refusal;
mod when;

use std::collections::{BTreeMap, BTreeSet};

use nucleus_seccomp::{Action, Arch, Insn, Program, SeccompData, Syscall, offset, op};
use rustix::io::Errno;

use self::emit::{emit_when, skip_unless_equal};
pub use self::refusal::Refusal;
pub use self::when::{ArgTest, When};
use crate::TrapError;

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` (`include/uapi/linux/seccomp.h`).
const NEW_LISTENER: u32 = 8;

/// The calls that are trapped, and those that are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traps {
    /// What the filter answers to a trapped call.
    answer: Action,
    trapped: BTreeMap<Syscall, When>,
    refused: BTreeMap<Syscall, Vec<Refusal>>,
}

impl Default for Traps {
    fn default() -> Self {
        Self::new()
    }
}

impl Traps {
    /// None yet, for a listener.
    #[must_use]
    pub const fn new() -> Self {
        Self::answered_by(Action::Notify)
    }

    /// None yet, for [`Guards`](crate::Guards). The program cannot have a
    /// listener of its own: to the kernel that one's word would count more than
    /// a tracer's, and what it lets go on would never stop.
    #[must_use]
    pub fn for_tracer() -> Self {
        let mut traps = Self::answered_by(Action::Trace(nucleus_tracer::ASK));
        let listens = When::Any(vec![vec![
            ArgTest::int(0, libc::SECCOMP_SET_MODE_FILTER),
            ArgTest::Int {
                index: 1,
                mask: NEW_LISTENER,
                value: NEW_LISTENER,
            },
        ]]);
        for arch in Arch::ALL {
            if let Some(seccomp) = Syscall::by_name(arch, "seccomp") {
                // As the kernel says where there is a listener already.
                let refusal = Refusal::Of(listens.clone(), Errno::BUSY);
                traps.refused.entry(seccomp).or_default().push(refusal);
            }
        }
        traps
    }

    const fn answered_by(answer: Action) -> Self {
        Self {
            answer,
            trapped: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// A call that both may trap: the listener would be asked, and the tracer
    /// not. One that they share by its arguments, as far as that is plain, is
    /// none.
    #[must_use]
    pub fn in_common(&self, other: &Self) -> Option<Syscall> {
        let both = |(call, when): &(&Syscall, &When)| {
            let theirs = other.trapped.get(call);
            theirs.is_some_and(|theirs| !when.excludes(theirs))
        };
        self.trapped.iter().find(both).map(|it| *it.0)
    }

    /// Traps a call, in addition to what is trapped already.
    ///
    /// # Errors
    ///
    /// A test of an argument that no call has.
    pub fn add(&mut self, call: Syscall, when: When) -> Result<(), TrapError> {
        when.check(call)?;
        let when = match self.trapped.remove(&call) {
            Some(before) => before.or(when),
            None => when,
        };
        self.trapped.insert(call, when);
        Ok(())
    }

    /// Refuses a call, whoever traps it.
    ///
    /// # Errors
    ///
    /// A test of an argument that no call has.
    pub fn refuse(&mut self, call: Syscall, refusal: Refusal) -> Result<(), TrapError> {
        refusal.when().check(call)?;
        self.refused.entry(call).or_default().push(refusal);
        Ok(())
    }

    /// What becomes of a call: what the programs are tested against.
    #[must_use]
    pub fn decide(&self, data: &SeccompData) -> Action {
        let Some(call) = data.syscall() else {
            return Action::Allow;
        };
        let mut refusals = self.refused.get(&call).into_iter().flatten();
        if let Some(refused) = refusals.find_map(|refusal| refusal.answer(data)) {
            return refused;
        }
        match self.trapped.get(&call) {
            Some(when) if when.holds(data) => self.answer,
            _ => Action::Allow,
        }
    }

    /// A filter that traps and refuses these calls and allows all others.
    ///
    /// It may be installed beside a profile's filter: the kernel asks both and
    /// takes the stricter answer.
    ///
    /// # Errors
    ///
    /// It would be longer than the kernel takes.
    pub fn program(&self) -> Result<Program, TrapError> {
        let mut insns = Vec::new();
        self.emit(&mut insns, Action::Allow);
        Program::new(insns).map_err(|source| TrapError::Load { source })
    }

    /// One filter of a profile's and of these traps: of what the profile allows
    /// or logs these calls are trapped or refused. All else that it answers
    /// stays, what it leaves to a listener or a tracer included.
    ///
    /// # Errors
    ///
    /// The profile's filter returns a computed value, or both together are
    /// longer than the kernel takes.
    pub fn join(&self, profile: &Program) -> Result<Program, TrapError> {
        let length = profile.insns().len();
        let mut insns = profile.insns().to_vec();
        let mut tails = BTreeMap::new();
        let mut tail = Vec::new();
        for (at, insn) in insns.iter_mut().enumerate() {
            if insn.code == op::RET_A {
                return Err(TrapError::Computed { at });
            }
            if insn.code != op::RET_K {
                continue;
            }
            let action = Action::from_ret(insn.k);
            if !matches!(action, Action::Log | Action::Allow) {
                continue;
            }
            let start = *tails.entry(insn.k).or_insert_with(|| {
                let start = length + tail.len();
                self.emit(&mut tail, action);
                start
            });
            let skip = u32::try_from(start - at - 1).unwrap_or(u32::MAX);
            *insn = Insn::stmt(op::JA, skip);
        }
        insns.extend(tail);
        Program::new(insns).map_err(|source| TrapError::Load { source })
    }

    /// Appends a program that returns `otherwise` for what is not trapped. It
    /// uses only what the kernel can evaluate when the filter is installed
    /// (5.11), so that calls which are not trapped cost nothing.
    fn emit(&self, out: &mut Vec<Insn>, otherwise: Action) {
        let calls: BTreeSet<&Syscall> = self.trapped.keys().chain(self.refused.keys()).collect();
        let archs: BTreeSet<u32> = calls.iter().map(|call| call.arch().audit()).collect();
        out.push(Insn::load(offset::ARCH));
        for arch in archs {
            let mut group = vec![Insn::load(offset::NR)];
            for call in calls.iter().filter(|call| call.arch().audit() == arch) {
                let mut body = Vec::new();
                for refusal in self.refused.get(call).into_iter().flatten() {
                    refusal.emit(&mut body);
                }
                match self.trapped.get(call) {
                    Some(when) => emit_when(&mut body, when, self.answer, otherwise),
                    None => body.push(Insn::ret(otherwise)),
                }
                skip_unless_equal(&mut group, call.number(), body.len());
                group.extend(body);
            }
            group.push(Insn::ret(otherwise));
            skip_unless_equal(out, arch, group.len());
            out.extend(group);
        }
        out.push(Insn::ret(otherwise));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(arch: Arch, name: &str) -> Syscall {
        Syscall::by_name(arch, name).expect("a call")
    }

    fn data(call: Syscall, args: [u64; 6]) -> SeccompData {
        SeccompData {
            nr: call.number(),
            arch: call.arch().audit(),
            instruction_pointer: 0,
            args,
        }
    }

    fn socket_traps() -> Traps {
        let mut traps = Traps::new();
        for arch in [Arch::X86_64, Arch::X32, Arch::Aarch64] {
            let inet = When::test(ArgTest::int(0, 2));
            traps.add(call(arch, "socket"), inet).expect("valid");
            traps
                .add(call(arch, "connect"), When::Always)
                .expect("valid");
        }
        traps
    }

    #[test]
    fn only_what_is_meant_is_trapped() {
        let traps = socket_traps();
        let program = traps.program().expect("loads");
        let check = |arch, name, args, expected| {
            let data = data(call(arch, name), args);
            assert_eq!(
                program.run(&data).action,
                expected,
                "{arch:?} {name} {args:?}"
            );
            assert_eq!(traps.decide(&data), expected);
        };
        let inet = [2, 1, 0, 0, 0, 0];
        check(Arch::X86_64, "socket", inet, Action::Notify);
        check(Arch::X32, "socket", inet, Action::Notify);
        check(Arch::I386, "socket", inet, Action::Allow);
        check(Arch::X86_64, "socket", [1, 1, 0, 0, 0, 0], Action::Allow);
        check(Arch::X86_64, "read", inet, Action::Allow);
        check(Arch::Aarch64, "connect", [0; 6], Action::Notify);
        // The kernel takes the family as an int: these bits do not count.
        let dressed = [2 | 7 << 32, 1, 0, 0, 0, 0];
        check(Arch::X86_64, "socket", dressed, Action::Notify);
    }

    #[test]
    fn calls_that_are_not_trapped_run_no_filter() {
        let program = socket_traps().program().expect("loads");
        let read = call(Arch::X86_64, "read");
        assert!(program.cached(read.arch(), read.number()));
        let connect = call(Arch::X86_64, "connect");
        assert!(!program.cached(connect.arch(), connect.number()));
    }

    #[test]
    fn no_list_never_traps_and_an_empty_one_always() {
        let read = call(Arch::X86_64, "read");
        let run = |lists| {
            let mut traps = Traps::new();
            traps.add(read, When::Any(lists)).expect("valid");
            traps
                .program()
                .expect("loads")
                .run(&data(read, [0; 6]))
                .action
        };
        assert_eq!(run(vec![]), Action::Allow);
        assert_eq!(run(vec![vec![]]), Action::Notify);
    }

    #[test]
    fn a_tracer_is_asked_where_no_listener_is() {
        let listened = socket_traps();
        let mut traced = Traps::for_tracer();
        for name in ["connect", "execve"] {
            let call = call(Arch::X86_64, name);
            traced.add(call, When::Always).expect("valid");
        }
        let connect = call(Arch::X86_64, "connect");
        assert_eq!(listened.in_common(&traced), Some(connect));
        let listened = listened.program().expect("loads");
        let program = traced.join(&listened).expect("loads");
        let check = |name, expected| {
            let data = data(call(Arch::X86_64, name), [2, 0, 0, 0, 0, 0]);
            assert_eq!(program.run(&data).action, expected, "{name}");
        };
        check("connect", Action::Notify);
        check("execve", Action::Trace(nucleus_tracer::ASK));
        check("read", Action::Allow);
        let seccomp = |flags| data(call(Arch::X86_64, "seccomp"), [1, flags, 0, 0, 0, 0]);
        assert_eq!(program.run(&seccomp(0x1a)).action, Action::Errno(16));
        assert_eq!(program.run(&seccomp(0x12)).action, Action::Allow);
    }

    #[test]
    fn a_call_can_be_shared_by_its_arguments() {
        let mmap = call(Arch::X86_64, "mmap");
        let value = 1 << 33;
        let trapped = |list| {
            let mut traps = Traps::new();
            traps.add(mmap, When::Any(vec![list])).expect("valid");
            traps
        };
        let kind = |value| ArgTest::Int {
            index: 3,
            mask: 0xf,
            value,
        };
        let small = trapped(vec![kind(2), ArgTest::LongAtMost { index: 1, value }]);
        let check = |list, expected| {
            assert_eq!(small.in_common(&trapped(list)), expected);
        };
        check(vec![kind(2), ArgTest::LongAbove { index: 1, value }], None);
        check(vec![kind(1)], None);
        let value = value - 1;
        check(vec![ArgTest::LongAbove { index: 1, value }], Some(mmap));
        check(vec![kind(2)], Some(mmap));
        check(vec![], Some(mmap));
    }

    #[test]
    fn a_refusal_comes_before_a_trap() {
        let socket = call(Arch::X86_64, "socket");
        let mut traps = socket_traps();
        let stream = When::test(ArgTest::int(1, 1));
        let refusal = Refusal::AllBut(stream, Errno::PROTONOSUPPORT);
        traps.refuse(socket, refusal).expect("valid");
        let program = traps.program().expect("loads");
        let check = |args, expected| {
            assert_eq!(
                program.run(&data(socket, args)).action,
                expected,
                "{args:?}"
            );
        };
        check([2, 1, 0, 0, 0, 0], Action::Notify);
        check([2, 2, 0, 0, 0, 0], Action::Errno(93));
        check([1, 1, 0, 0, 0, 0], Action::Allow);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let read = call(Arch::X86_64, "read");
        let error = Traps::new().add(read, When::test(ArgTest::int(6, 0)));
        assert!(matches!(error, Err(TrapError::Argument { index: 6, .. })));
        let computed =
            Program::new(vec![Insn::load(offset::NR), Insn::stmt(op::RET_A, 0)]).expect("loads");
        let error = socket_traps().join(&computed);
        assert_eq!(error, Err(TrapError::Computed { at: 1 }));
    }

    const CALLS: [&str; 6] = ["read", "socket", "connect", "openat", "clone", "mmap"];

    fn a_call() -> impl Strategy<Value = Syscall> {
        let arch = prop::sample::select(vec![Arch::X86_64, Arch::X32, Arch::Aarch64]);
        (arch, prop::sample::select(&CALLS[..])).prop_map(|(arch, name)| call(arch, name))
    }

    fn a_value() -> impl Strategy<Value = u64> {
        let small = prop::sample::select(vec![0_u64, 1, 2, 3, 1 << 31, 1 << 32, (1 << 32) | 2]);
        prop_oneof![4 => small, 1 => any::<u64>()]
    }

    fn a_test() -> impl Strategy<Value = ArgTest> {
        let index = 0..6_u8;
        (index, 0..5_u8, a_value(), a_value()).prop_map(|(index, kind, value, mask)| match kind {
            0 => ArgTest::Int {
                index,
                mask: u32::try_from(mask & 0xffff_ffff).expect("masked"),
                value: u32::try_from(value & 0xffff_ffff).expect("masked"),
            },
            1 => ArgTest::Long { index, value },
            2 => ArgTest::LongAtMost { index, value },
            3 => ArgTest::LongAbove { index, value },
            _ => ArgTest::LongNot { index, value },
        })
    }

    fn some_traps() -> impl Strategy<Value = Traps> {
        let list = prop::collection::vec(a_test(), 0..5);
        let when = prop_oneof![
            1 => Just(When::Always),
            4 => prop::collection::vec(list, 0..4).prop_map(When::Any),
        ];
        prop::collection::vec((a_call(), when, 0..4_u8), 0..6).prop_map(|list| {
            let mut traps = Traps::new();
            for (call, when, kind) in list {
                match kind {
                    0 => traps.refuse(call, Refusal::Of(when, Errno::PERM)),
                    1 => traps.refuse(call, Refusal::AllBut(when, Errno::PERM)),
                    _ => traps.add(call, when),
                }
                .expect("indices are in range");
            }
            traps
        })
    }

    fn some_data() -> impl Strategy<Value = SeccompData> {
        (a_call(), prop::array::uniform6(a_value())).prop_map(|(call, args)| data(call, args))
    }

    /// A profile that answers by call: in place of a compiled one.
    fn some_profile() -> impl Strategy<Value = Program> {
        let action = prop::sample::select(vec![
            Action::KillProcess,
            Action::Trap(3),
            Action::Errno(1),
            Action::Notify,
            Action::Trace(9),
            Action::Log,
            Action::Allow,
        ]);
        let rule = (a_call(), action.clone());
        (prop::collection::vec(rule, 0..6), action).prop_map(|(rules, default)| {
            let mut insns = vec![Insn::load(offset::NR)];
            for (call, action) in rules {
                insns.push(Insn::jump(op::JEQ_K, call.number(), 0, 1));
                insns.push(Insn::ret(action));
            }
            insns.push(Insn::ret(default));
            Program::new(insns).expect("loads")
        })
    }

    proptest! {
        #[test]
        fn the_program_traps_what_the_traps_say(traps in some_traps(), data in some_data()) {
            let action = traps.program().expect("loads").run(&data).action;
            prop_assert_eq!(action, traps.decide(&data));
        }

        #[test]
        fn what_is_in_common_is_found(
            one in some_traps(), other in some_traps(), data in some_data(),
        ) {
            let by = |traps: &Traps| {
                let call = data.syscall().expect("known");
                traps.trapped.get(&call).is_some_and(|when| when.holds(&data))
            };
            prop_assert!(!(by(&one) && by(&other)) || one.in_common(&other).is_some());
        }

        #[test]
        fn a_joined_filter_traps_what_the_profile_lets_pass(
            traps in some_traps(), profile in some_profile(), data in some_data(),
        ) {
            let joined = traps.join(&profile).expect("loads").run(&data).action;
            let own = traps.program().expect("loads").run(&data).action;
            let expected = match profile.run(&data).action {
                passes @ (Action::Log | Action::Allow) => passes.min(own),
                stays => stays,
            };
            prop_assert_eq!(joined, expected);
        }
    }
}
