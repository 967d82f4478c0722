//! Decision diagrams: functions of the 512 bits of `seccomp_data`, each held
//! once, so that equal functions are equal references.
//!
//! Reduced ordered binary decision diagrams (Bryant, 1986) with more than two
//! leaves: `false` and `true` for conditions, one leaf for each verdict.

use std::collections::HashMap;

use crate::{Action, ProofError};

/// A function of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ref(u32);

pub(super) const FALSE: Ref = Ref(0);
pub(super) const TRUE: Ref = Ref(1);

/// How many steps a comparison may take. Profiles of container runtimes need
/// some ten thousand; behind this limit are programs that compute with
/// arguments as no filter does. It bounds the nodes, too.
const MAX_STEPS: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// `false` or `true`.
    Truth(bool),
    /// A verdict.
    Verdict(Action),
    /// Goes on by a bit of the input: smaller levels are asked first.
    Decision { level: u16, low: Ref, high: Ref },
}

#[derive(Debug)]
pub(super) struct Diagram {
    nodes: Vec<Node>,
    known: HashMap<Node, Ref>,
    /// Results of [`Diagram::choose`]; one for each step taken.
    memo: HashMap<[Ref; 3], Ref>,
}

impl Diagram {
    pub(super) fn new() -> Self {
        let nodes = vec![Node::Truth(false), Node::Truth(true)];
        let known = nodes.iter().copied().zip([FALSE, TRUE]).collect();
        Self {
            nodes,
            known,
            memo: HashMap::new(),
        }
    }

    pub(super) fn node(&self, at: Ref) -> Node {
        self.nodes[at.0 as usize]
    }

    fn intern(&mut self, node: Node) -> Result<Ref, ProofError> {
        if let Some(&at) = self.known.get(&node) {
            return Ok(at);
        }
        let at = u32::try_from(self.nodes.len())
            .ok()
            .map(Ref)
            .ok_or(ProofError::TooComplex { limit: MAX_STEPS })?;
        self.nodes.push(node);
        self.known.insert(node, at);
        Ok(at)
    }

    /// The function that is this verdict everywhere.
    pub(super) fn verdict(&mut self, action: Action) -> Result<Ref, ProofError> {
        // The kernel caps errnos (`seccomp_run_filters`, MAX_ERRNO).
        let action = match action {
            Action::Errno(errno) => Action::Errno(errno.min(4095)),
            other => other,
        };
        self.intern(Node::Verdict(action))
    }

    /// The function that is one bit of the input.
    pub(super) fn bit(&mut self, level: u16) -> Result<Ref, ProofError> {
        self.decision(level, FALSE, TRUE)
    }

    fn decision(&mut self, level: u16, low: Ref, high: Ref) -> Result<Ref, ProofError> {
        if low == high {
            return Ok(low);
        }
        self.intern(Node::Decision { level, low, high })
    }

    /// `yes` where the condition holds, `no` elsewhere.
    pub(super) fn choose(&mut self, condition: Ref, yes: Ref, no: Ref) -> Result<Ref, ProofError> {
        match condition {
            TRUE => return Ok(yes),
            FALSE => return Ok(no),
            _ if yes == no => return Ok(yes),
            _ if yes == TRUE && no == FALSE => return Ok(condition),
            _ => {}
        }
        let key = [condition, yes, no];
        if let Some(&result) = self.memo.get(&key) {
            return Ok(result);
        }
        if self.memo.len() >= MAX_STEPS {
            return Err(ProofError::TooComplex { limit: MAX_STEPS });
        }
        // The condition is no leaf here, so some level is below MAX.
        let level = key.map(|at| self.level(at)).into_iter().min().unwrap_or(0);
        let [low, high] = [false, true].map(|value| key.map(|at| self.at_bit(at, level, value)));
        let low = self.choose(low[0], low[1], low[2])?;
        let high = self.choose(high[0], high[1], high[2])?;
        let result = self.decision(level, low, high)?;
        self.memo.insert(key, result);
        Ok(result)
    }

    /// The level that a function asks first; behind all others for a leaf.
    pub(super) fn level(&self, at: Ref) -> u16 {
        match self.node(at) {
            Node::Decision { level, .. } => level,
            Node::Truth(_) | Node::Verdict(_) => u16::MAX,
        }
    }

    /// The function where the bit at this level has this value, for a level
    /// that is not behind the function's first.
    pub(super) fn at_bit(&self, at: Ref, level: u16, value: bool) -> Ref {
        match self.node(at) {
            Node::Decision {
                level: first,
                low,
                high,
            } if first == level => {
                if value {
                    high
                } else {
                    low
                }
            }
            _ => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_functions_are_one_reference() {
        let mut diagram = Diagram::new();
        let a = diagram.bit(3).unwrap();
        let b = diagram.bit(1).unwrap();
        let and = diagram.choose(a, b, FALSE).unwrap();
        let same = diagram.choose(b, a, FALSE).unwrap();
        assert_eq!(and, same);
        let not_a = diagram.choose(a, FALSE, TRUE).unwrap();
        let again = diagram.choose(not_a, FALSE, TRUE).unwrap();
        assert_eq!(again, a);
        assert_eq!(diagram.choose(not_a, a, a).unwrap(), a);
    }

    #[test]
    fn verdicts_are_what_the_kernel_makes_of_them() {
        let mut diagram = Diagram::new();
        let capped = diagram.verdict(Action::Errno(5000)).unwrap();
        assert_eq!(capped, diagram.verdict(Action::Errno(4095)).unwrap());
        assert_ne!(capped, diagram.verdict(Action::Errno(4094)).unwrap());
    }
}
