//! Tests of arguments: a decision graph, with equal parts shared.

use std::collections::BTreeMap;

use super::emit::{Emitter, Label};
use super::term::{Knowledge, Term, Test, Word, terms};
use crate::policy::{Clause, Verdict};
use crate::{Action, Syscall, op};

/// What becomes of a call, in a form that makes equal things equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Always(Action),
    /// The action of the first term that holds, or else the other one.
    When {
        terms: Vec<(Term, Action)>,
        otherwise: Action,
    },
}

impl Outcome {
    pub(super) fn new(verdict: &Verdict, wide: bool) -> Self {
        match verdict {
            Verdict::Always(action) => Self::Always(*action),
            Verdict::When { clauses, otherwise } => {
                let terms = clauses.iter().flat_map(|clause| {
                    let action = clause.action;
                    alternatives(clause, wide)
                        .into_iter()
                        .map(move |term| (term, action))
                });
                Self::simplified(terms.collect(), *otherwise)
            }
        }
    }

    /// Leaves out what comes after a term that always holds, and terms at the
    /// end that change nothing.
    fn simplified(mut terms: Vec<(Term, Action)>, mut otherwise: Action) -> Self {
        if let Some(at) = terms.iter().position(|(term, _)| term.is_empty()) {
            otherwise = terms[at].1;
            terms.truncate(at);
        }
        while terms.pop_if(|(_, action)| *action == otherwise).is_some() {}
        if terms.is_empty() {
            Self::Always(otherwise)
        } else {
            Self::When { terms, otherwise }
        }
    }

    /// What is left once a word is known better.
    fn given(self, word: Word, knowledge: &Knowledge) -> Self {
        match self {
            Self::When { terms, otherwise } => {
                let terms = terms.into_iter().filter_map(|(mut term, action)| {
                    let mut possible = true;
                    term.retain(|literal| {
                        let known = (literal.word == word).then(|| knowledge.result(literal.test));
                        let Some(result) = known.flatten() else {
                            return true;
                        };
                        possible &= result == literal.wanted;
                        false
                    });
                    possible.then_some((term, action))
                });
                Self::simplified(terms.collect(), otherwise)
            }
            always @ Self::Always(_) => always,
        }
    }
}

/// The terms of which one must hold for a clause to hold.
fn alternatives(clause: &Clause, wide: bool) -> Vec<Term> {
    let mut all: Vec<Term> = vec![Vec::new()];
    for test in &clause.tests {
        let ways = terms(test, wide);
        all = all
            .iter()
            .flat_map(|term| ways.iter().map(|way| [term.as_slice(), way].concat()))
            .collect();
    }
    all
}

/// The code for argument tests that has been emitted.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    shared: BTreeMap<State, Label>,
    /// Instructions for each call's tests, by call.
    sizes: BTreeMap<Syscall, usize>,
}

/// A point in the middle of the tests: what is still to be found out, what is
/// known of the words that it depends on, and the word in `A`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    outcome: Outcome,
    known: BTreeMap<Word, Knowledge>,
    loaded: Option<Word>,
}

/// More tests than this in a row, or more points, and sharing is given up.
const MAX_TERMS: usize = 256;
const MAX_STATES: usize = 8192;

/// There are too many ways through the tests.
struct TooMany;

impl Arguments {
    /// Emits what decides an outcome, for this call.
    pub(super) fn emit(
        &mut self,
        emitter: &mut Emitter,
        outcome: &Outcome,
        call: Syscall,
    ) -> Label {
        let Outcome::When { terms, otherwise } = outcome else {
            return self.leaf(emitter, outcome);
        };
        let before = emitter.len();
        let start = State {
            outcome: outcome.clone(),
            known: BTreeMap::new(),
            loaded: None,
        };
        let mut states_left = MAX_STATES;
        let label = if terms.len() > MAX_TERMS {
            Err(TooMany)
        } else {
            self.decide(emitter, start, &mut states_left)
        };
        let label = label.unwrap_or_else(|TooMany| {
            emitter.truncate(before);
            self.shared.retain(|_, label| label.is_within(before));
            one_after_another(emitter, terms, *otherwise)
        });
        *self.sizes.entry(call).or_default() += emitter.len() - before;
        label
    }

    /// The calls whose tests take the most instructions, the largest first.
    pub(super) fn largest(&self) -> Vec<(Syscall, usize)> {
        let mut sizes: Vec<_> = self
            .sizes
            .iter()
            .map(|(&call, &size)| (call, size))
            .collect();
        sizes.sort_by_key(|&(call, size)| (std::cmp::Reverse(size), call));
        sizes.truncate(10);
        sizes
    }

    fn leaf(&self, emitter: &mut Emitter, outcome: &Outcome) -> Label {
        match outcome {
            Outcome::Always(action) => emitter.ret(*action),
            Outcome::When { otherwise, .. } => emitter.ret(*otherwise),
        }
    }

    fn decide(
        &mut self,
        emitter: &mut Emitter,
        mut state: State,
        states_left: &mut usize,
    ) -> Result<Label, TooMany> {
        let Outcome::When { terms, .. } = &state.outcome else {
            return Ok(self.leaf(emitter, &state.outcome));
        };
        state.known.retain(|word, _| {
            let mut literals = terms.iter().flat_map(|(term, _)| term);
            literals.any(|literal| literal.word == *word)
        });
        if let Some(&label) = self.shared.get(&state) {
            return Ok(label);
        }
        *states_left = states_left.checked_sub(1).ok_or(TooMany)?;
        // Simplified terms are not empty, so there is a literal.
        let literal = terms[0].0[0];
        let mut branch = |result| {
            let mut next = state.clone();
            let knowledge = next.known.entry(literal.word).or_default();
            knowledge.learn(literal.test, result);
            next.outcome = next.outcome.given(literal.word, knowledge);
            next.loaded = Some(literal.word).filter(|_| !literal.test.changes_a());
            self.decide(emitter, next, states_left)
        };
        let no = branch(false)?;
        let yes = branch(true)?;
        let label = test(emitter, literal.word, literal.test, state.loaded, yes, no);
        self.shared.insert(state, label);
        Ok(label)
    }
}

/// The terms in order, each from its start: never many ways, but nothing shared.
fn one_after_another(emitter: &mut Emitter, terms: &[(Term, Action)], otherwise: Action) -> Label {
    let mut next = emitter.ret(otherwise);
    for (term, action) in terms.iter().rev() {
        let mut label = emitter.ret(*action);
        for literal in term.iter().rev() {
            let (yes, no) = if literal.wanted {
                (label, next)
            } else {
                (next, label)
            };
            label = test(emitter, literal.word, literal.test, None, yes, no);
        }
        next = label;
    }
    next
}

fn test(
    emitter: &mut Emitter,
    word: Word,
    test: Test,
    loaded: Option<Word>,
    yes: Label,
    no: Label,
) -> Label {
    let label = match test {
        Test::Equal(value) => emitter.branch(op::JEQ_K, value, yes, no),
        Test::Greater(value) => emitter.branch(op::JGT_K, value, yes, no),
        Test::Masked(mask, 0) => emitter.branch(op::JSET_K, mask, no, yes),
        Test::Masked(mask, value) if value == mask && mask.is_power_of_two() => {
            emitter.branch(op::JSET_K, mask, yes, no)
        }
        Test::Masked(mask, value) => {
            let compare = emitter.branch(op::JEQ_K, value, yes, no);
            emitter.and(mask, compare)
        }
    };
    if loaded == Some(word) || (yes == no && emitter.is_return(yes)) {
        label
    } else {
        emitter.load(word, label)
    }
}

impl Test {
    /// Whether testing leaves something else than the word in `A`.
    const fn changes_a(self) -> bool {
        match self {
            Self::Masked(mask, value) => !(value == 0 || (value == mask && mask.is_power_of_two())),
            Self::Equal(_) | Self::Greater(_) => false,
        }
    }
}
