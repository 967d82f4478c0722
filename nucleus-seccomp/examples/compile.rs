//! Compiles an OCI profile for this machine and says what came out.
//!
//! `cargo run -p nucleus-seccomp --example compile -- [PROFILE.json] [CAP_NAME...]`

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use nucleus_seccomp::{CompileOptions, Profile, SeccompData, Syscall, Target};

/// What is compiled when no file is named.
const SMALL: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [
        {"names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]}
    ]
}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let json = match args.next() {
        Some(path) => std::fs::read(path)?,
        None => SMALL.as_bytes().to_vec(),
    };
    let profile = Profile::from_json(&json)?;
    let mut target = Target::host().ok_or("no table for this machine")?;
    target.capabilities = args.collect();
    for note in profile.notes(&target) {
        eprintln!("note: {note}");
    }
    let policy = profile.resolve(&target)?;
    let program = policy.compile(&CompileOptions::default())?;

    let mut executed = Vec::new();
    for arch in policy.arches() {
        for call in Syscall::all(arch) {
            let data = SeccompData {
                nr: call.number(),
                arch: arch.audit(),
                ..SeccompData::default()
            };
            let outcome = program.run(&data);
            assert_eq!(outcome.action, policy.decide(&data), "{arch} {call}");
            executed.push(outcome.executed);
        }
    }
    println!(
        "{} instructions; {:.1} executed on average over {} calls without arguments",
        program.insns().len(),
        executed.iter().sum::<usize>() as f64 / executed.len() as f64,
        executed.len(),
    );
    Ok(())
}
