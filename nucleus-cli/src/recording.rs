//! Recording a run into a trace.

use std::ffi::OsString;
use std::process::ExitStatus;

use nucleus_audit::PtraceMode;
use nucleus_core::Command;
use nucleus_profile::{Origin, Recorder, Trace};
use nucleus_seccomp::Program;

use crate::session;

/// What a recorded run left.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) trace: Trace,
    pub(crate) status: ExitStatus,
}

/// Runs `command` to its end and records each call that it makes; `words` is
/// the command line that the trace will name.
pub(crate) fn record(command: &mut Command, words: &[OsString]) -> anyhow::Result<Recording> {
    command.filter(Program::trace_all());
    let mut recorder = Recorder::new();
    let watched = session::watch(command, PtraceMode::Record, |event| {
        match event.call.data() {
            Some(data) => recorder.record(&data),
            None => recorder.record_without_arguments(event.call.arch, event.call.nr),
        }
    })?;
    let origin = Origin::here(watched.source, words.to_vec());
    Ok(Recording {
        trace: recorder.finish(origin, watched.completeness),
        status: watched.status,
    })
}
