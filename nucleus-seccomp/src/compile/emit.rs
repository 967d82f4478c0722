//! Instructions, written from the end of the program to its start.

use std::collections::BTreeMap;

use crate::{Action, Insn, X32_SYSCALL_BIT, offset, op};

/// An instruction that others may jump to, counted from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label(usize);

impl Label {
    /// Whether it is among the first `len` instructions from the end.
    pub(super) const fn is_within(self, len: usize) -> bool {
        self.0 < len
    }
}

/// A program that grows towards its start. Jumps only lead forward, so every
/// target is there before what jumps to it.
#[derive(Debug)]
pub(super) struct Emitter {
    reversed: Vec<Insn>,
    /// The nearest return of each action, by `SECCOMP_RET_*` value.
    returns: BTreeMap<u32, Label>,
    /// The nearest test of the x32 bit that leads to each two places.
    x32_tests: BTreeMap<(Label, Label), Label>,
}

/// How far a conditional jump is let reach: two below what eight bits hold,
/// for the trampoline of its other target.
const REACH: usize = 253;

impl Emitter {
    pub(super) const fn new() -> Self {
        Self {
            reversed: Vec::new(),
            returns: BTreeMap::new(),
            x32_tests: BTreeMap::new(),
        }
    }

    /// How many instructions there are.
    pub(super) const fn len(&self) -> usize {
        self.reversed.len()
    }

    /// Forgets what was written after there were `len` instructions.
    pub(super) fn truncate(&mut self, len: usize) {
        self.reversed.truncate(len);
        self.returns.retain(|_, label| label.0 < len);
        self.x32_tests.retain(|_, label| label.0 < len);
    }

    pub(super) fn into_insns(mut self) -> Vec<Insn> {
        self.reversed.reverse();
        self.reversed
    }

    /// A return of this action, an earlier one if it is near enough.
    pub(super) fn ret(&mut self, action: Action) -> Label {
        let insn = Insn::ret(action);
        match self.returns.get(&insn.k) {
            Some(&label) if self.distance(label) < REACH => label,
            _ => self.push(insn),
        }
    }

    /// Whether the filter ends there.
    pub(super) fn is_return(&self, label: Label) -> bool {
        self.reversed[label.0].code == op::RET_K
    }

    /// `A =` the word at this offset, then on to `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.before(Insn::load(offset), next)
    }

    /// `A &= mask`, then on to `next`.
    pub(super) fn and(&mut self, mask: u32, next: Label) -> Label {
        self.before(Insn::stmt(op::AND_K, mask), next)
    }

    /// Goes to `yes` if the comparison holds, to `no` if it does not.
    pub(super) fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let yes = self.near(yes);
        let no = self.near(no);
        let skip = |label| u8::try_from(self.distance(label)).unwrap_or(u8::MAX);
        let insn = Insn::jump(code, k, skip(yes), skip(no));
        self.push(insn)
    }

    /// Goes to `yes` if the number has the x32 bit, to `no` if not; an earlier
    /// test if it is near enough.
    pub(super) fn x32_test(&mut self, yes: Label, no: Label) -> Label {
        match self.x32_tests.get(&(yes, no)) {
            Some(&label) if self.distance(label) < REACH => label,
            _ => {
                let test = self.branch(op::JSET_K, X32_SYSCALL_BIT, yes, no);
                let label = self.load(offset::NR, test);
                self.x32_tests.insert((yes, no), label);
                label
            }
        }
    }

    /// An instruction that does not jump.
    fn before(&mut self, insn: Insn, next: Label) -> Label {
        if self.distance(next) > 0 {
            self.jump(next);
        }
        self.push(insn)
    }

    /// A label within reach that leads to the same place.
    fn near(&mut self, label: Label) -> Label {
        if self.distance(label) <= REACH {
            return label;
        }
        if self.is_return(label) {
            self.push(self.reversed[label.0])
        } else {
            self.jump(label)
        }
    }

    fn jump(&mut self, label: Label) -> Label {
        // Programs that long are refused in the end.
        let skip = u32::try_from(self.distance(label)).unwrap_or(u32::MAX);
        self.push(Insn::stmt(op::JA, skip))
    }

    fn push(&mut self, insn: Insn) -> Label {
        let label = Label(self.reversed.len());
        self.reversed.push(insn);
        if insn.code == op::RET_K {
            self.returns.insert(insn.k, label);
        }
        label
    }

    /// How many instructions the next one would have to skip.
    const fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0 - 1
    }
}
