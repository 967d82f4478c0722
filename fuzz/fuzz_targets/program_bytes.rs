//! Raw filters and listings: what is read is written back to the same bytes,
//! runs to an end, and is equal to itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nucleus_seccomp::{Program, SeccompData, op};

fuzz_target!(|bytes: &[u8]| {
    let program = match Program::from_raw(bytes) {
        Ok((program, endian)) => {
            assert_eq!(program.to_bytes(endian), bytes);
            program
        }
        Err(_) => match str::from_utf8(bytes).map(str::parse) {
            Ok(Ok(program)) => program,
            _ => return,
        },
    };
    let listing = program.to_string();
    assert_eq!(
        listing.parse::<Program>().as_ref(),
        Ok(&program),
        "{listing}"
    );
    let mut words = bytes.iter().rev().copied().cycle();
    let mut long = || u64::from_le_bytes(std::array::from_fn(|_| words.next().unwrap_or(0)));
    let data = SeccompData {
        nr: long() as u32,
        arch: long() as u32,
        instruction_pointer: long(),
        args: std::array::from_fn(|_| long()),
    };
    let outcome = program.run(&data);
    assert!(outcome.executed <= program.insns().len());
    // A return of A alone has up to 200,000 verdicts, which takes a second.
    let computes_verdict = program.insns().iter().any(|insn| insn.code == op::RET_A);
    if program.insns().len() < 64 && !computes_verdict {
        // Too complex is an answer; unequal is not.
        if let Ok(answer) = nucleus_seccomp::proof::equal(&program, &program) {
            assert!(answer.holds(), "{answer:?}\n{listing}");
        }
    }
});
