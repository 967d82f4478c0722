//! What the tests of cgroups do in another process, or as another user.
//!
//! `hold` makes a group without limits, prints its path and waits for the end
//! of standard input. `limit` makes one that takes three tasks and prints its
//! path. `find` says whether there is a place for a memory limit.

#![allow(
    clippy::print_stdout,
    reason = "what it prints is what the test asked for"
)]

use std::collections::BTreeSet;
use std::io::Read;
use std::time::Duration;

use anyhow::{Result, bail};
use nucleus_cgroup::{Controller, Group, Host, Limits, PidsMax, Place};

fn main() -> Result<()> {
    let task = std::env::args().nth(1).unwrap_or_default();
    let host = Host::detect()?;
    match task.as_str() {
        "hold" => {
            let _group = make(&host, &Limits::new())?;
            std::io::stdin().read_to_end(&mut Vec::new())?;
        }
        "limit" => {
            let limits = Limits::new()
                .memory_max("64M".parse()?)
                .pids_max(PidsMax::new(3)?);
            let mut group = make(&host, &limits)?;
            limits.verify(group.cgroup())?;
            group.remove(Duration::from_secs(60))?;
        }
        "find" => {
            let needed = BTreeSet::from([Controller::Memory]);
            let place = Place::find(&host, &needed)?;
            println!("{}", place.cgroup().path().display());
        }
        other => bail!("unknown task {other:?}"),
    }
    Ok(())
}

fn make(host: &Host, limits: &Limits) -> Result<Group, nucleus_cgroup::Error> {
    let place = Place::find(host, &limits.controllers())?;
    let group = Group::create(place, limits)?;
    println!("{}", group.path().display());
    Ok(group)
}
