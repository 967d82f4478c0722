//! Recording a run into a trace.

use std::ffi::OsString;
use std::process::ExitStatus;

use anyhow::Context;
use nucleus_audit::{LogPurpose, PtraceMode};
use nucleus_core::Command;
use nucleus_profile::{Origin, Recorder, Trace};
use nucleus_seccomp::{Action, Insn, InstallFlags, Program};

use crate::session::{self, WatchSource};

/// What a recorded run left.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) trace: Trace,
    pub(crate) status: ExitStatus,
}

/// Runs `command` to its end and records each call that it makes; `words` is
/// the command line that the trace will name.
pub(crate) fn record(
    command: &mut Command,
    words: &[OsString],
    source: WatchSource,
) -> anyhow::Result<Recording> {
    let mut recorder = Recorder::new();
    let observe = |event: &nucleus_audit::Event, _pid| match event.call.data() {
        Some(data) => recorder.record(&data),
        None => recorder.record_without_arguments(event.call.arch, event.call.nr),
    };
    let watched = match source.log() {
        None => {
            command.filter(Program::trace_all());
            session::watch(command, PtraceMode::Record, observe)?
        }
        Some(kind) => {
            let log_all = Program::new(vec![Insn::ret(Action::Log)]);
            command.filter(log_all.context("cannot make a filter that logs")?);
            command.filter_flags(InstallFlags::LOG);
            session::watch_log(command, kind, LogPurpose::Logged, observe)?
        }
    };
    let origin = Origin::here(watched.source, words.to_vec());
    Ok(Recording {
        trace: recorder.finish(origin, watched.completeness),
        status: watched.status,
    })
}
