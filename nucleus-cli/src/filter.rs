//! From a profile to the filter that a program runs under.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use nucleus_seccomp::{
    Action, Arch, CompileOptions, KernelVersion, Policy, Profile, Program, Target,
};

/// This machine's architecture.
pub(crate) fn native() -> anyhow::Result<Arch> {
    Arch::native().context(
        "no system call table for this machine's architecture; nucleus knows x86_64, aarch64 and riscv64",
    )
}

/// What `profile` means on this machine for a program with these capabilities.
pub(crate) fn resolve(profile: &Profile, capabilities: BTreeSet<String>) -> anyhow::Result<Policy> {
    let kernel = KernelVersion::running().context("cannot read the kernel's version")?;
    let mut target = Target::new(native()?, kernel);
    target.capabilities = capabilities;
    profile
        .resolve(&target)
        .context("cannot resolve the profile for this machine")
}

/// The filter of nucleus's own profile, which was compiled in advance.
pub(crate) fn sandbox_default() -> anyhow::Result<Program> {
    let arch = native()?;
    Program::sandbox_default(arch).with_context(|| format!("no default filter for {arch}"))
}

/// The filter that enforces a policy.
pub(crate) fn enforcing(policy: &Policy) -> anyhow::Result<Program> {
    refuse_questions(policy)?;
    compile(policy)
}

/// As [`enforcing`], where a tracer is there for other calls: it is not asked
/// about those that the profile leaves to some tracer.
pub(crate) fn enforcing_beside_tracer(policy: &Policy) -> anyhow::Result<Program> {
    enforcing(&policy.clone().map_actions(|action| match action {
        // What the kernel answers where there is no tracer.
        Action::Trace(_) => Action::Errno(ENOSYS),
        other => other,
    }))
}

fn compile(policy: &Policy) -> anyhow::Result<Program> {
    policy
        .compile(&CompileOptions::default())
        .context("cannot compile the profile")
}

/// A profile may leave calls to a listener of its own, which is not there.
fn refuse_questions(policy: &Policy) -> anyhow::Result<()> {
    ensure!(
        !has(policy, |action| action == Action::Notify),
        "the profile leaves calls to a listener (SCMP_ACT_NOTIFY), and there is none to ask; \
         give those calls another action"
    );
    Ok(())
}

/// Whether a policy has such an answer anywhere.
pub(crate) fn has(policy: &Policy, such: impl Fn(Action) -> bool) -> bool {
    let mut found = false;
    let _same = policy.clone().map_actions(|action| {
        found |= such(action);
        action
    });
    found
}

/// The same filter, but with errno answers given by a tracer, which can tell
/// of each; kills and traps stay the kernel's.
pub(crate) fn reporting(policy: &Policy) -> anyhow::Result<Program> {
    enforcing(&policy.clone().map_actions(|action| match action {
        Action::Errno(errno) => Action::Trace(errno),
        // What the kernel answers where there is no tracer.
        Action::Trace(_) => Action::Trace(ENOSYS),
        other => other,
    }))
}

/// The same filter, but with errno answers and kills left to a listener. A
/// trap stays the kernel's: nobody else can raise a SIGSYS like it, and a
/// tracer tells of it.
pub(crate) fn asking(policy: &Policy) -> anyhow::Result<Program> {
    refuse_questions(policy)?;
    compile(&policy.clone().map_actions(|action| match action {
        Action::Errno(_) | Action::KillProcess | Action::KillThread => Action::Notify,
        // What the kernel answers where there is no tracer.
        Action::Trace(_) => Action::Errno(ENOSYS),
        other => other,
    }))
}

/// `ENOSYS`, the same number on every architecture that nucleus knows.
pub(crate) const ENOSYS: u16 = 38;
