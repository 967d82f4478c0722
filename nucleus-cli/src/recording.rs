//! Recording a run into a trace.

use std::ffi::OsString;

use anyhow::Context;
use nucleus_audit::{LogPurpose, PtraceMode};
use nucleus_profile::{Origin, Recorder, Trace};
use nucleus_seccomp::{Action, Insn, InstallFlags, Program};

use crate::exit::Ended;
use crate::session::{self, Job};
use crate::watch_source::{Means, WatchSource};

/// What a recorded run left.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) trace: Trace,
    pub(crate) ended: Ended,
}

/// Runs `job` to its end and records each call that it makes; `words` is
/// the command line that the trace will name.
pub(crate) fn record(
    job: &mut Job,
    words: &[OsString],
    source: WatchSource,
) -> anyhow::Result<Recording> {
    let mut recorder = Recorder::new();
    let mut observe = |event: &nucleus_audit::Event, _pid| match event.call.data() {
        Some(data) => recorder.record(&data),
        None => recorder.record_without_arguments(event.call.arch, event.call.nr),
    };
    let watched = source.attempt(|means| match means {
        Means::Tracer => {
            job.command.filter(Program::trace_all());
            session::watch(job, PtraceMode::Record, &mut observe)
        }
        Means::Log(kind) => {
            let log_all = Program::new(vec![Insn::ret(Action::Log)]);
            job.command
                .filter(log_all.context("cannot make a filter that logs")?);
            job.command.filter_flags(InstallFlags::LOG);
            session::watch_log(job, kind, LogPurpose::Logged, &mut observe)
        }
    })?;
    let origin = Origin::here(watched.source, words.to_vec());
    Ok(Recording {
        trace: recorder.finish(origin, watched.completeness),
        ended: watched.ended,
    })
}
