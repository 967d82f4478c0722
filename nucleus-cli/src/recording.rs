//! Recording a run into a trace.

use std::ffi::OsString;

use anyhow::{Context, bail};
use nucleus_audit::{Event, LogPurpose, PtraceMode};
use nucleus_profile::{Origin, Recorder, Trace};
use nucleus_seccomp::{Action, Insn, InstallFlags, Program};

use crate::exit::Ended;
use crate::session::{Job, Logging};
use crate::supervise::{Filter, Supervision, Watch, Watcher};
use crate::watch_source::{Means, WatchSource};

/// What a recorded run left.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) trace: Trace,
    pub(crate) ended: Ended,
}

/// Runs `job` to its end and records each call that it makes, those included
/// that its rules answer; `words` is the command line that the trace will name.
pub(crate) fn record(
    job: &mut Job,
    words: &[OsString],
    source: WatchSource,
    mut supervision: Supervision,
) -> anyhow::Result<Recording> {
    let mut recorder = Recorder::new();
    let source = source.with_rules(&supervision);
    let (ended, verdict) = source.attempt(|means| {
        let supervision = std::mem::take(&mut supervision);
        let observe = Box::new(|event: &Event, _pid| take_in(&mut recorder, event));
        let mut watch = Watch::default();
        let filter = match means {
            Means::Tracer => {
                let (mode, program) = by_tracer(&supervision)?;
                watch.tracer = Some(Watcher {
                    mode,
                    observe,
                    is_optional: false,
                });
                let flags = InstallFlags::empty();
                Filter { program, flags }
            }
            Means::Log(_) if !supervision.is_empty() => bail!(
                "the kernel's records lack the calls that a supervisor answers; record with \
                 --source ptrace, or leave out the rules"
            ),
            Means::Log(kind) => {
                watch.log = Some(Logging {
                    kind,
                    purpose: LogPurpose::Logged,
                    observe,
                });
                Filter {
                    program: all(Action::Log)?,
                    flags: InstallFlags::LOG,
                }
            }
        };
        supervision.run(job, filter, watch)
    })?;
    let origin = Origin::here(verdict.source, words.to_vec());
    Ok(Recording {
        trace: recorder.finish(origin, verdict.completeness),
        ended,
    })
}

/// Rules answer calls before a filter of the recorder's would: then each call
/// is seen at its entry, which costs a second stop.
fn by_tracer(supervision: &Supervision) -> anyhow::Result<(PtraceMode, Program)> {
    if supervision.is_empty() {
        Ok((PtraceMode::Record, Program::trace_all()))
    } else {
        Ok((PtraceMode::RecordEntries, all(Action::Allow)?))
    }
}

/// A filter with one answer for all.
fn all(action: Action) -> anyhow::Result<Program> {
    let program = Program::new(vec![Insn::ret(action)]);
    program.context("cannot make a filter that answers all calls alike")
}

fn take_in(recorder: &mut Recorder, event: &Event) {
    match event.call.data() {
        Some(data) => recorder.record(&data),
        None => recorder.record_without_arguments(event.call.arch, event.call.nr),
    }
}
