//! Any bytes are a profile or an error; a profile is written as it was read,
//! and what it compiles to decides as it does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nucleus_seccomp::{
    Arch, CompileOptions, KernelVersion, Profile, SeccompData, Syscall, Target,
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(profile) = Profile::from_json(bytes) else {
        return;
    };
    let json = profile.to_json();
    let again = Profile::from_json(json.as_bytes()).expect("what was written can be read");
    assert_eq!(again, profile);
    assert_eq!(again.to_json(), json);

    let target = Target::new(Arch::X86_64, KernelVersion::new(6, 18));
    drop(profile.notes(&target));
    let Ok(policy) = profile.resolve(&target) else {
        return;
    };
    let Ok(program) = policy.compile(&CompileOptions::default()) else {
        return;
    };
    for arch in Arch::ALL {
        for call in Syscall::all(arch) {
            let data = SeccompData {
                nr: call.number(),
                arch: arch.audit(),
                ..SeccompData::default()
            };
            assert_eq!(program.run(&data).action, policy.decide(&data), "{data:?}");
        }
    }
});
