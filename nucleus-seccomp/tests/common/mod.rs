//! Random programs.

#![allow(dead_code, reason = "not every test uses all of it")]

use nucleus_seccomp::{Insn, offset, op};
use proptest::prelude::*;

/// Operations that take any constant.
const PLAIN: [u16; 28] = [
    op::LD_IMM,
    op::LD_LEN,
    op::LDX_IMM,
    op::LDX_LEN,
    op::ADD_K,
    op::ADD_X,
    op::SUB_K,
    op::SUB_X,
    op::MUL_K,
    op::MUL_X,
    op::DIV_X,
    op::OR_K,
    op::OR_X,
    op::AND_K,
    op::AND_X,
    op::LSH_X,
    op::RSH_X,
    op::NEG,
    op::XOR_K,
    op::XOR_X,
    op::TAX,
    op::TXA,
    op::LD_ABS,
    op::LD_ABS,
    op::LD_ABS,
    op::LD_ABS,
    op::LD_ABS,
    op::LD_ABS,
];

const JUMPS: [u16; 8] = [
    op::JEQ_K,
    op::JEQ_X,
    op::JGT_K,
    op::JGT_X,
    op::JGE_K,
    op::JGE_X,
    op::JSET_K,
    op::JSET_X,
];

/// Constants at which something changes, and others.
fn constant() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(31),
        Just(0xc000_003e),
        Just(0x4000_0000),
        Just(0x7fff_0000),
        Just(u32::MAX),
        0_u32..500,
        any::<u32>(),
    ]
}

/// An instruction in front of `behind` others that the loader takes, scratch
/// memory aside.
fn good_insn(behind: usize) -> impl Strategy<Value = Insn> {
    let reach = u8::try_from(behind.max(1)).unwrap_or(200);
    prop_oneof![
        8 => (prop::sample::select(&PLAIN[..]), constant()).prop_map(|(code, k)| {
            let k = if code == op::LD_ABS { k % 16 * 4 } else { k };
            Insn::stmt(code, k)
        }),
        1 => (prop::sample::select(&[op::LSH_K, op::RSH_K][..]), 0_u32..32)
            .prop_map(|(code, k)| Insn::stmt(code, k)),
        1 => (1_u32..).prop_map(|k| Insn::stmt(op::DIV_K, k)),
        2 => (prop::sample::select(&[op::ST, op::STX, op::LD_MEM, op::LDX_MEM][..]), 0_u32..3)
            .prop_map(|(code, k)| Insn::stmt(code, k)),
        1 => (0..u32::from(reach)).prop_map(|k| Insn::stmt(op::JA, k)),
        6 => (prop::sample::select(&JUMPS[..]), constant(), 0..reach, 0..reach)
            .prop_map(|(code, k, jt, jf)| Insn::jump(code, k, jt, jf)),
        1 => constant().prop_map(|k| Insn::stmt(op::RET_K, k)),
        1 => Just(Insn::stmt(op::RET_A, 0)),
    ]
}

/// Up to 40 instructions that mostly make a program: they may read scratch
/// memory that no one wrote.
pub(crate) fn plausible_insns() -> impl Strategy<Value = Vec<Insn>> {
    (0_usize..40).prop_flat_map(|len| {
        let mut insns: Vec<BoxedStrategy<Insn>> = vec![
            // Most programs begin so; it also makes more of them valid.
            Just(Insn::load(offset::ARCH)).boxed(),
            Just(Insn::stmt(op::ST, 0)).boxed(),
            Just(Insn::stmt(op::ST, 1)).boxed(),
        ];
        insns.extend((0..len).rev().map(|behind| good_insn(behind + 1).boxed()));
        insns.push(Just(Insn::stmt(op::RET_A, 0)).boxed());
        insns
    })
}

/// Instructions of any kind, close to ones that are permitted.
pub(crate) fn wild_insns() -> impl Strategy<Value = Vec<Insn>> {
    let code = prop_oneof![
        4 => prop::sample::select(&PLAIN[..]),
        1 => prop::sample::select(&JUMPS[..]),
        1 => 0_u16..0x100,
        1 => any::<u16>(),
    ];
    let insn = (code, 0_u8..4, 0_u8..4, prop_oneof![0_u32..70, any::<u32>()])
        .prop_map(|(code, jt, jf, k)| Insn { code, jt, jf, k });
    (
        prop::collection::vec(insn, 0..6),
        prop_oneof![
            4 => Just(Insn::stmt(op::RET_K, 0)),
            1 => Just(Insn::stmt(op::TAX, 0)),
        ],
    )
        .prop_map(|(mut insns, last)| {
            insns.push(last);
            insns
        })
}
