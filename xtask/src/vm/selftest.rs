//! `--selftest`: tests that misbehave on purpose, one in each way, and whether
//! each is reported as what it is.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nucleus_tests::vm::Test;

use crate::build::Built;
use crate::vm::catalogue::Entry;
use crate::vm::group::GROUPS;
use crate::vm::image::Layers;
use crate::vm::kernel::Unpacked;
use crate::vm::{Host, Part, text};

/// A way to misbehave, how its report begins, and the exit code.
type Way = (&'static str, &'static str, u8);

/// These share a machine: the one must not disturb the next.
const SURVIVED: &[Way] = &[
    ("fail", "FAIL exit code 3", 3),
    ("panic", "FAIL exit code 101 (a panic)", 101),
    ("signal", "SIGNAL killed by signal 6", 134),
    ("hang", "TIMEOUT did not end in time", 124),
    ("mount", "LEFT left behind: mount /mnt/left", 1),
    ("process", "LEFT left behind: process ", 1),
    ("cgroup", "LEFT left behind: cgroup /sys/fs/cgroup/left", 1),
];

/// These take the machine with them.
const DEADLY: &[Way] = &[
    ("crash", "kernel panic: ", 125),
    ("reboot", "lost verdict: ", 125),
    ("memory", "out of memory: ", 125),
];

/// A test that outlives the host's patience: the guest's own clock, which
/// would end it, is taken for stopped.
const STUCK: Way = ("hang", "hang: the machine said nothing for ", 124);

pub(crate) fn run(
    host: &mut Host<'_>,
    kernels: &[Unpacked],
    layers: &Layers,
    built: &Built,
) -> Result<bool> {
    let program = built
        .programs
        .iter()
        .find(|program| program.ends_with("vm-fixture"))
        .context("cargo built no program named vm-fixture")?;
    let entry = |way: &str| -> Result<Entry> {
        Ok(Entry {
            test: Test {
                name: way.to_owned(),
                directory: "/".to_owned(),
                program: text(program)?,
                arguments: vec![way.to_owned()],
            },
            count: 1,
        })
    };
    let group = GROUPS.first().context("no group")?;
    let part = |entries| Part { group, entries };
    let mut faults = Vec::new();
    for kernel in kernels {
        host.limits(Duration::from_secs(5), Duration::from_secs(60));
        let ways: Vec<&str> = SURVIVED.iter().map(|(way, ..)| *way).collect();
        let entries = ["pass"].iter().chain(&ways).chain(&["pass"]);
        let entries = entries.map(|way| entry(way)).collect::<Result<Vec<_>>>()?;
        let totals = host.boot(kernel, layers, &[part(entries)])?;
        faults.extend(compare(kernel, SURVIVED, &totals.failures, totals.code));
        if totals.passed != 2 {
            faults.push(format!(
                "{}: {} and not 2 passed",
                kernel.release, totals.passed
            ));
        }

        host.limits(Duration::from_secs(120), Duration::from_secs(180));
        for way in DEADLY {
            let totals = host.boot(kernel, layers, &[part(vec![entry(way.0)?])])?;
            faults.extend(compare(kernel, &[*way], &totals.failures, totals.code));
        }

        host.limits(Duration::from_secs(1000), Duration::from_secs(15));
        let totals = host.boot(kernel, layers, &[part(vec![entry(STUCK.0)?])])?;
        faults.extend(compare(kernel, &[STUCK], &totals.failures, totals.code));
    }
    eprintln!();
    for fault in &faults {
        eprintln!("NOT TOLD APART: {fault}");
    }
    let told = (SURVIVED.len() + DEADLY.len() + 1) * kernels.len();
    if faults.is_empty() {
        eprintln!("selftest: all of {told} misbehaviours are reported as what they are");
    }
    Ok(faults.is_empty())
}

/// What was not reported as expected.
fn compare(
    kernel: &Unpacked,
    expected: &[Way],
    reported: &[(String, String)],
    code: Option<u8>,
) -> Vec<String> {
    let mut faults = Vec::new();
    if reported.len() != expected.len() {
        faults.push(format!("{}: reported {reported:?}", kernel.release));
    }
    for ((way, begins, _), (name, how)) in expected.iter().zip(reported) {
        if !name.ends_with(way) || !how.starts_with(begins) {
            faults.push(format!("{}: {way} as {name}: {how}", kernel.release));
        }
    }
    let first = expected.first().map(|(.., code)| *code);
    if code != first {
        faults.push(format!(
            "{}: exit code {code:?} and not {first:?}",
            kernel.release
        ));
    }
    faults
}
