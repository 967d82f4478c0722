//! Whether two filters, or a profile and a filter, say the same.
//!
//! Both are turned into decision diagrams over all 512 bits of the input,
//! which are equal exactly when the filters are: no constant, mask or
//! correlated comparison of either can hide a difference. What is too complex
//! to be turned into a diagram is an error, not a pass.
//!
//! Every region of the input that the diagrams tell apart, and every known
//! system call of every architecture, is then also run: with its smallest and
//! its largest value, through [`Program::run`] on the one side and
//! [`Policy::decide`] on the other. The two ways to the
//! answer share no code.
//!
//! ```
//! use nucleus_seccomp::{Program, proof};
//!
//! let strict: Program = "ld [nr]\njeq #39, 3, 2\nret errno(1)\nret allow".parse()?;
//! let open: Program = "ret allow".parse()?;
//! assert!(proof::subset(&strict, &open)?.holds());
//! assert!(!proof::equal(&strict, &open)?.holds());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod diagram;
mod reference;
mod regions;
mod symbolic;
mod word;

use crate::{Action, Arch, Policy, Program, ProofError, SeccompData, Syscall};
use diagram::{Diagram, Ref};
use regions::Regions;

/// What can be compared.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A filter.
    Program(&'a Program),
    /// A resolved profile, by its rules; nothing is compiled.
    Policy(&'a Policy),
}

impl<'a> From<&'a Policy> for Subject<'a> {
    fn from(policy: &'a Policy) -> Self {
        Self::Policy(policy)
    }
}

impl<'a> From<&'a Program> for Subject<'a> {
    fn from(program: &'a Program) -> Self {
        Self::Program(program)
    }
}

impl Subject<'_> {
    fn behaviour(self, diagram: &mut Diagram) -> Result<Ref, ProofError> {
        match self {
            Self::Program(program) => symbolic::behaviour(diagram, program),
            Self::Policy(policy) => reference::behaviour(diagram, policy),
        }
    }

    /// What it says to one call.
    #[must_use]
    pub fn decide(self, data: &SeccompData) -> Action {
        match self {
            Self::Program(program) => program.run(data).action,
            Self::Policy(policy) => policy.decide(data),
        }
    }
}

/// The answer of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It holds for every input.
    Holds {
        /// Into how many regions the two sides divide all inputs.
        classes: u64,
        /// How many calls were also evaluated one by one.
        evaluated: u64,
    },
    /// It does not hold for this call.
    Fails(CounterExample),
}

impl Answer {
    /// Whether it holds.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Holds { .. })
    }
}

/// A call that shows that a comparison does not hold: the first one, in the
/// order of [`Arch::ALL`], numbers, and arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterExample {
    /// The call.
    pub data: SeccompData,
    /// What the left side says.
    pub left: Action,
    /// What the right side says.
    pub right: Action,
}

/// Whether both sides give every call the same verdict.
///
/// # Errors
///
/// [`ProofError`] when that cannot be decided.
pub fn equal<'a>(
    left: impl Into<Subject<'a>>,
    right: impl Into<Subject<'a>>,
) -> Result<Answer, ProofError> {
    compare(left.into(), right.into(), |left, right| left == right)
}

/// Whether the left side lets no call through that the right side denies.
///
/// Verdicts count as denials, as decisions left to somebody else (`Notify`,
/// `Trace`), or as passes (`Allow`, `Log`); the left side's must not be later
/// in this order than the right side's.
///
/// # Errors
///
/// [`ProofError`] when that cannot be decided.
pub fn subset<'a>(
    left: impl Into<Subject<'a>>,
    right: impl Into<Subject<'a>>,
) -> Result<Answer, ProofError> {
    compare(left.into(), right.into(), |left, right| {
        openness(left) <= openness(right)
    })
}

const fn openness(action: Action) -> u8 {
    match action {
        Action::Allow | Action::Log => 2,
        Action::Notify | Action::Trace(_) => 1,
        Action::KillProcess | Action::KillThread | Action::Trap(_) | Action::Errno(_) => 0,
    }
}

/// How many regions are evaluated one by one; the comparison itself has no
/// such limit. Profiles of container runtimes have some thousand.
const REGIONS: u32 = 1 << 15;

/// As many more for each known call.
const REGIONS_OF_CALL: u32 = 1 << 9;

/// A relation of verdicts that holds between equal ones.
type Relation = fn(Action, Action) -> bool;

fn compare(left: Subject, right: Subject, relation: Relation) -> Result<Answer, ProofError> {
    let mut diagram = Diagram::new();
    let pair = [
        left.behaviour(&mut diagram)?,
        right.behaviour(&mut diagram)?,
    ];
    let regions = Regions::new(&diagram, pair);
    let counter_example = Arch::ALL
        .into_iter()
        .find_map(|arch| regions.of_arch(arch.audit()).find(relation))
        .or_else(|| regions.find(relation));
    let sides = |data: &SeccompData| [left, right].map(|side| capped(side.decide(data)));
    if let Some(region) = counter_example {
        let data = region.smallest();
        let [left, right] = sides(&data);
        if relation(left, right) {
            return Err(ProofError::Contradiction {
                data: Box::new(data),
            });
        }
        return Ok(Answer::Fails(CounterExample { data, left, right }));
    }
    let mut evaluated = 0;
    let mut evaluate = |data: SeccompData| {
        evaluated += 1;
        let [left, right] = sides(&data);
        if relation(left, right) {
            Ok(())
        } else {
            Err(ProofError::Contradiction {
                data: Box::new(data),
            })
        }
    };
    regions.each_bound(REGIONS, &mut evaluate)?;
    for arch in Arch::ALL {
        let regions = regions.of_arch(arch.audit());
        for call in Syscall::all(arch) {
            regions
                .of_number(call.number())
                .each_bound(REGIONS_OF_CALL, &mut evaluate)?;
        }
    }
    Ok(Answer::Holds {
        classes: regions.count(),
        evaluated,
    })
}

/// The kernel caps errnos (MAX_ERRNO, `kernel/seccomp.c`).
fn capped(action: Action) -> Action {
    match action {
        Action::Errno(errno) => Action::Errno(errno.min(4095)),
        other => other,
    }
}
