//! The peak of a process's resident memory.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Runs the command to its end, and gives its own peak in KiB, without its
/// children's. The run must last some milliseconds after the peak.
pub(crate) fn peak(command: &mut Command) -> Result<u64> {
    let mut child = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        // Between its end and its reaping a process has no memory to tell of.
        peak = peak.max(high_water(&status).unwrap_or(0));
        thread::sleep(Duration::from_millis(5));
    };
    if !ended.success() || peak == 0 {
        bail!("{command:?} ended with {ended}, its memory peaked at {peak} KiB");
    }
    Ok(peak)
}

fn high_water(status: &str) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
