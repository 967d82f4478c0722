//! Which option of `run` opens a call that the sandbox's own profile denies.

use std::collections::BTreeSet;

use nucleus_audit::Call;
use nucleus_seccomp::{Action, Profile, Verdict};

use crate::filter;

/// The option, as it is typed; `None` where only another profile helps.
pub(crate) fn option(call: &Call) -> Option<String> {
    let profile = Profile::sandbox_default().with_capabilities();
    let rules = profile.rules.iter();
    let capabilities: BTreeSet<_> = rules.flat_map(|rule| &rule.includes.caps).collect();
    let opens = |name: &&String| allows(&profile, Some(name), call);
    // What opens least comes first.
    if let Some(name) = capabilities.into_iter().find(opens) {
        let name = name.trim_start_matches("CAP_").to_ascii_lowercase();
        return Some(format!("--cap-add {name}"));
    }
    let nested = allows(&Profile::sandbox_nested(), None, call);
    nested.then(|| "--allow-nested".to_owned())
}

/// Whether a profile does; where the arguments are not known, whatever they are.
fn allows(profile: &Profile, capability: Option<&str>, call: &Call) -> bool {
    let capabilities = capability.map(ToOwned::to_owned).into_iter().collect();
    // What cannot be resolved here opens nothing.
    let Ok(policy) = filter::resolve(profile, capabilities) else {
        return false;
    };
    match (call.data(), call.syscall()) {
        (Some(data), _) => policy.decide(&data) == Action::Allow,
        (None, Some(call)) => policy.verdict(call) == Verdict::Always(Action::Allow),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use nucleus_seccomp::{Arch, Syscall};

    use super::*;

    #[test]
    fn the_narrowest_option_is_named() {
        let arch = Arch::native().unwrap();
        let check = |name: &str, args: Option<[u64; 6]>, expected: Option<&str>| {
            let call = Call {
                arch: arch.audit(),
                nr: Syscall::by_name(arch, name).unwrap().number(),
                instruction_pointer: 0,
                args,
            };
            assert_eq!(option(&call).as_deref(), expected, "{name} {args:?}");
        };
        let set_user_id = Some([3, 0, 0o4755, 0, 0, 0]);
        check("fchmodat", set_user_id, Some("--cap-add fsetid"));
        check("fchmodat", None, Some("--cap-add fsetid"));
        check("chroot", None, Some("--cap-add sys_chroot"));
        check("ptrace", None, Some("--cap-add sys_ptrace"));
        let new_user = Some([0x1000_0000, 0, 0, 0, 0, 0]);
        check("unshare", new_user, Some("--allow-nested"));
        check("mount", None, Some("--allow-nested"));
        check(
            "socket",
            Some([2, 3, 1, 0, 0, 0]),
            Some("--cap-add net_raw"),
        );
        check("socket", Some([40, 1, 0, 0, 0, 0]), None);
        check("keyctl", None, None);
    }
}
