//! What can go wrong while tracing.

use std::io;

/// Why a program could not be traced, or not any longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The tracer could not be attached.
    #[error("cannot trace process {pid}")]
    Seize {
        /// The process that should have been traced.
        pid: u32,
        /// Why, and what to do.
        source: Refusal,
    },
    /// The tracer's wait for the next stop failed.
    #[error("cannot wait for the traced processes")]
    Wait(#[source] io::Error),
    /// A request on a stopped thread failed, other than because it was killed.
    #[error("ptrace request {request} on thread {tid} failed")]
    Ptrace {
        /// The request's name in ptrace(2).
        request: &'static str,
        /// The stopped thread.
        tid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The signal that wakes the tracer could not be prepared.
    #[error("cannot prepare the signal that wakes a tracer")]
    Wake(#[source] io::Error),
}

/// Why the kernel refused `PTRACE_SEIZE`, found out by looking, with the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A seccomp filter on this process answers ptrace(2) itself.
    #[error(
        "a seccomp filter on this process blocks ptrace(2), as a container's default profile may; \
         allow ptrace in that profile (docker: --cap-add SYS_PTRACE or a profile of your own), \
         or choose another source"
    )]
    Filtered,
    /// Yama forbids it.
    #[error(
        "kernel.yama.ptrace_scope is {scope}, which {}; {}",
        yama_meaning(*.scope),
        yama_remedy(*.scope)
    )]
    Yama {
        /// The value of the knob: 1 to 3.
        scope: u8,
    },
    /// Another process traces it already.
    #[error(
        "process {tracer} traces it already, and a process has one tracer; end that tracer first"
    )]
    Traced {
        /// The tracer (`TracerPid`).
        tracer: u32,
    },
    /// It runs as another user, has more capabilities or may not be dumped.
    #[error(
        "it runs as another user (uid {target_uid}, this process {own_uid}), with more capabilities, \
         or is not dumpable, and this process lacks CAP_SYS_PTRACE over it; run as its user or as root"
    )]
    NotPermitted {
        /// The target's real user id.
        target_uid: u32,
        /// This process's effective user id.
        own_uid: u32,
    },
    /// There is no such process any more.
    #[error("there is no such process, or it has ended")]
    Gone,
    /// The kernel said something else.
    #[error("PTRACE_SEIZE failed")]
    Other(#[source] io::Error),
}

fn yama_meaning(scope: u8) -> &'static str {
    match scope {
        1 => "lets a process trace its own descendants only",
        2 => "lets only a process with CAP_SYS_PTRACE trace",
        _ => "lets nobody trace until the next boot",
    }
}

fn yama_remedy(scope: u8) -> &'static str {
    match scope {
        1 => "start the program from this process, or run with CAP_SYS_PTRACE",
        2 => "run with CAP_SYS_PTRACE or set the knob to 1",
        _ => "choose another source, or boot with a lower value",
    }
}
