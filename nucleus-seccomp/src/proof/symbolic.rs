//! Runs a program on every input at once.
//!
//! Jumps only go forward. So one pass from the front finds every state in
//! which an instruction can be reached, and one pass from the back says what
//! the program answers from there on, as a function of the input.

use std::collections::HashMap;

use super::diagram::{Diagram, FALSE, Ref, TRUE};
use super::word::{self, Word, ZERO, constant, shift_left, shift_right};
use crate::{Action, Insn, Program, ProofError, offset, op};

/// How many states all instructions together may have. Usual programs have
/// one or two each: the number, or an argument, in the accumulator.
const MAX_STATES: usize = 1 << 16;

/// Set in the operations that take X instead of a constant (`BPF_X`).
const FROM_X: u16 = 0x08;

/// Bits of a verdict's data (`SECCOMP_RET_DATA`).
const DATA_BITS: usize = 16;

/// What the registers hold, as numbers of interned words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    a: usize,
    x: usize,
    memory: [usize; 16],
}

/// Where an instruction goes on.
#[derive(Clone, Copy)]
enum Next {
    /// Behind this many others, in this state.
    On(usize, State),
    /// Nowhere: the program answers.
    Answer(Ref),
}

/// What an instruction does in one of its states.
struct Step {
    condition: Ref,
    /// Where the condition holds.
    yes: Next,
    /// Where it does not.
    no: Next,
}

/// What the program answers, as a function of the input.
pub(super) fn behaviour(diagram: &mut Diagram, program: &Program) -> Result<Ref, ProofError> {
    let insns = program.insns();
    let mut machine = Machine::new(diagram);
    let mut states: Vec<Vec<State>> = vec![Vec::new(); insns.len()];
    states[0].push(machine.start());
    let mut steps: Vec<Vec<Step>> = Vec::with_capacity(insns.len());
    let mut count = 0;
    for (at, insn) in insns.iter().enumerate() {
        let mut here = Vec::with_capacity(states[at].len());
        for index in 0..states[at].len() {
            let step = machine.step(*insn, states[at][index])?;
            for (next, never) in [(step.yes, FALSE), (step.no, TRUE)] {
                if let Next::On(skip, state) = next
                    && step.condition != never
                    && !states[at + 1 + skip].contains(&state)
                {
                    count += 1;
                    states[at + 1 + skip].push(state);
                }
            }
            here.push(step);
        }
        if count > MAX_STATES {
            return Err(ProofError::TooComplex { limit: MAX_STATES });
        }
        steps.push(here);
    }
    from_the_back(diagram, &states, &steps)
}

fn from_the_back(
    diagram: &mut Diagram,
    states: &[Vec<State>],
    steps: &[Vec<Step>],
) -> Result<Ref, ProofError> {
    // What the program answers from each instruction on, in each state.
    let mut answers: Vec<Vec<Ref>> = vec![Vec::new(); steps.len()];
    for at in (0..steps.len()).rev() {
        let answer = |next| match next {
            Next::Answer(answer) => answer,
            Next::On(skip, state) => {
                let there = at + 1 + skip;
                let index = states[there].iter().position(|known| *known == state);
                // Only a way that is never taken leads to an unknown state.
                index.map_or(FALSE, |index| answers[there][index])
            }
        };
        let mut here = Vec::with_capacity(steps[at].len());
        for step in &steps[at] {
            here.push(diagram.choose(step.condition, answer(step.yes), answer(step.no))?);
        }
        answers[at] = here;
    }
    Ok(answers[0][0])
}

struct Machine<'a> {
    diagram: &'a mut Diagram,
    words: Vec<Word>,
    known: HashMap<Word, usize>,
}

impl<'a> Machine<'a> {
    fn new(diagram: &'a mut Diagram) -> Self {
        Self {
            diagram,
            words: Vec::new(),
            known: HashMap::new(),
        }
    }

    fn start(&mut self) -> State {
        let zero = self.intern(ZERO);
        State {
            a: zero,
            x: zero,
            memory: [zero; 16],
        }
    }

    fn intern(&mut self, word: Word) -> usize {
        *self.known.entry(word).or_insert_with(|| {
            self.words.push(word);
            self.words.len() - 1
        })
    }

    fn step(&mut self, insn: Insn, state: State) -> Result<Step, ProofError> {
        let Insn { code, jt, jf, k } = insn;
        let (a, x) = (self.words[state.a], self.words[state.x]);
        // What the operations take that come with a constant and with X.
        let operand = if code & FROM_X == 0 { constant(k) } else { x };
        let condition = match code {
            op::JEQ_K | op::JEQ_X => self.diagram.equal(&a, &operand)?,
            op::JGT_K | op::JGT_X => self.diagram.greater(&a, &operand, FALSE)?,
            op::JGE_K | op::JGE_X => self.diagram.greater(&a, &operand, TRUE)?,
            op::JSET_K | op::JSET_X => self.diagram.intersect(&a, &operand)?,
            op::JA => return Ok(always(Next::On(k as usize, state))),
            op::RET_K => {
                let answer = self.diagram.verdict(Action::from_ret(k))?;
                return Ok(always(Next::Answer(answer)));
            }
            op::RET_A => return Ok(always(Next::Answer(self.returned(&a)?))),
            op::DIV_K | op::DIV_X => {
                return Ok(Step {
                    condition: self.diagram.equal(&operand, &ZERO)?,
                    yes: Next::Answer(self.diagram.verdict(Action::from_ret(0))?),
                    no: Next::On(0, self.registers(code, k, state, &operand)?),
                });
            }
            _ => {
                let next = self.registers(code, k, state, &operand)?;
                return Ok(always(Next::On(0, next)));
            }
        };
        Ok(Step {
            condition,
            yes: Next::On(usize::from(jt), state),
            no: Next::On(usize::from(jf), state),
        })
    }

    /// The state behind an instruction that only computes.
    fn registers(
        &mut self,
        code: u16,
        k: u32,
        mut state: State,
        operand: &Word,
    ) -> Result<State, ProofError> {
        match code {
            op::ST => state.memory[k as usize] = state.a,
            op::STX => state.memory[k as usize] = state.x,
            op::LD_MEM => state.a = state.memory[k as usize],
            op::LDX_MEM => state.x = state.memory[k as usize],
            op::LDX_IMM => state.x = self.intern(constant(k)),
            op::LDX_LEN => state.x = self.intern(constant(offset::END)),
            op::TAX => state.x = state.a,
            op::TXA => state.a = state.x,
            _ => {
                let a = self.words[state.a];
                let word = self.accumulator(code, k, &a, operand)?;
                state.a = self.intern(word);
            }
        }
        Ok(state)
    }

    fn accumulator(
        &mut self,
        code: u16,
        k: u32,
        a: &Word,
        operand: &Word,
    ) -> Result<Word, ProofError> {
        let diagram = &mut *self.diagram;
        match code {
            op::LD_ABS => word::input(diagram, k),
            op::LD_IMM => Ok(constant(k)),
            op::LD_LEN => Ok(constant(offset::END)),
            op::ADD_K | op::ADD_X => diagram.add(a, operand),
            op::SUB_K | op::SUB_X => diagram.sub(a, operand),
            op::MUL_K | op::MUL_X => diagram.mul(a, operand),
            op::DIV_K | op::DIV_X => diagram.div(a, operand),
            op::OR_K | op::OR_X => diagram.or_words(a, operand),
            op::AND_K | op::AND_X => diagram.and_words(a, operand),
            op::XOR_K | op::XOR_X => diagram.xor_words(a, operand),
            op::LSH_K | op::LSH_X => diagram.shift(a, operand, shift_left),
            op::RSH_K | op::RSH_X => diagram.shift(a, operand, shift_right),
            // NEG, and nothing else: the loader refuses other codes.
            _ => diagram.sub(&ZERO, a),
        }
    }

    /// The verdict that a word stands for: the upper half is the action, the
    /// lower half its data where it has some.
    fn returned(&mut self, word: &Word) -> Result<Ref, ProofError> {
        let action_of = {
            let mut upper = ZERO;
            upper[16..].copy_from_slice(&word[16..]);
            upper
        };
        // Unknown actions kill.
        let mut answer = self.diagram.verdict(Action::KillProcess)?;
        for action in [
            Action::KillThread,
            Action::Trap(0),
            Action::Errno(0),
            Action::Notify,
            Action::Trace(0),
            Action::Log,
            Action::Allow,
        ] {
            let is_it = self.diagram.equal(&action_of, &constant(action.to_ret()))?;
            if is_it != FALSE {
                let verdict = match action {
                    Action::Trap(_) => self.with_data(word, DATA_BITS, 0, Action::Trap)?,
                    Action::Errno(_) => self.with_data(word, DATA_BITS, 0, Action::Errno)?,
                    Action::Trace(_) => self.with_data(word, DATA_BITS, 0, Action::Trace)?,
                    action => self.diagram.verdict(action)?,
                };
                answer = self.diagram.choose(is_it, verdict, answer)?;
            }
        }
        Ok(answer)
    }

    /// A verdict with data, told apart by the lower `bits` bits of a word; the
    /// upper ones are in `data`.
    fn with_data(
        &mut self,
        word: &Word,
        bits: usize,
        data: u16,
        action: fn(u16) -> Action,
    ) -> Result<Ref, ProofError> {
        let Some(bit) = bits.checked_sub(1) else {
            return self.diagram.verdict(action(data));
        };
        match word[bit] {
            FALSE => self.with_data(word, bit, data, action),
            TRUE => self.with_data(word, bit, data | 1 << bit, action),
            unknown => {
                let set = self.with_data(word, bit, data | 1 << bit, action)?;
                let clear = self.with_data(word, bit, data, action)?;
                self.diagram.choose(unknown, set, clear)
            }
        }
    }
}

const fn always(next: Next) -> Step {
    Step {
        condition: TRUE,
        yes: next,
        no: next,
    }
}
