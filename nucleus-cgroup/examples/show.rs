//! Prints this host's cgroup layout, the caller's cgroup and what it has used.
//!
//! `cargo run -p nucleus-cgroup --example show`

use std::error::Error;
use std::io::Write;

use nucleus_cgroup::{Controller, Host};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    let host = Host::detect()?;
    writeln!(out, "layout: {:?}", host.layout())?;
    for controller in Controller::ALL {
        let version = if host.is_v1(controller) {
            "1"
        } else {
            "2, or none"
        };
        writeln!(out, "{controller}: version {version}")?;
    }
    let own = match host.own() {
        Ok(own) => own,
        Err(error) => {
            writeln!(out, "own cgroup: {error}")?;
            return Ok(());
        }
    };
    writeln!(out, "own cgroup: {}", own.path().display())?;
    writeln!(out, "controllers: {:?}", own.controllers()?)?;
    let stats = own.stats()?;
    if let Some(cpu) = stats.cpu {
        writeln!(out, "cpu: {:?}, throttled {:?}", cpu.usage, cpu.throttled)?;
    }
    if let Some(memory) = stats.memory {
        writeln!(out, "memory: {} bytes, {:?}", memory.current, memory.events)?;
    }
    if let Some(pids) = stats.pids {
        writeln!(
            out,
            "tasks: {}, forks refused {}",
            pids.current, pids.refused
        )?;
    }
    Ok(())
}
