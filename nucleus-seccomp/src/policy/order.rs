//! The order in which conditional rules are tried.

use std::cmp::{Ordering, Reverse};

use super::Clause;
use crate::profile::{ArgTest, Comparison};

/// Compares two clauses as libseccomp orders the nodes of its argument tree
/// (`_db_chain_lt`, `src/db.c`); see the module above. Measured against
/// libseccomp 2.5.4 on random rules.
pub(super) fn compare(a: &Clause, b: &Clause) -> Ordering {
    let keys = |clause: &Clause| clause.tests.iter().map(key).collect::<Vec<_>>();
    let (a_keys, b_keys) = (keys(a), keys(b));
    let common = a_keys.len().min(b_keys.len());
    Reverse(&a_keys[..common])
        .cmp(&Reverse(&b_keys[..common]))
        .then(a_keys.len().cmp(&b_keys.len()))
        // libseccomp takes what came first; any fixed order is as good.
        .then_with(|| a.cmp(b))
}

/// What is tried first has the largest key.
fn key(test: &ArgTest) -> (u8, u8, u64) {
    let index = test.index.get();
    match test.comparison {
        Comparison::NotEqual(value) | Comparison::Equal(value) => (index, 3, value),
        Comparison::MaskedEqual { mask, value } => (index, 3, value & mask),
        Comparison::Less(value) | Comparison::LessOrEqual(value) => (index, 2, !value),
        Comparison::GreaterOrEqual(value) | Comparison::Greater(value) => (index, 1, value),
    }
}
