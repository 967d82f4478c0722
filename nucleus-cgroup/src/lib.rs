//! cgroup v2 for one program: find a place, make a group with limits, measure,
//! freeze, kill, remove.
//!
//! Nothing is taken for granted: the hierarchy is proved by its magic and
//! device, every limit is read back, and where something cannot be had the
//! error says on which cgroup, why, and what to do. Hosts with version 1 beside
//! version 2 are told apart by controller.
//!
//! ```no_run
//! use std::os::fd::AsFd;
//! use std::time::Duration;
//! use nucleus_cgroup::{Group, Host, Limits, PidsMax, Place};
//!
//! let limits = Limits::new()
//!     .memory_max("256M".parse()?)
//!     .pids_max(PidsMax::new(64)?)
//!     .check()?;
//! let place = Place::find(&Host::detect()?, &limits.controllers())?;
//! let mut group = Group::create(place, &limits)?;
//! let _for_clone3 = group.as_fd(); // CLONE_INTO_CGROUP
//! println!("{:?}", group.stats()?.memory);
//! group.remove(Duration::from_secs(10))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(unsafe_code)]

pub mod mountinfo;

pub mod membership;

mod controller;
mod host;

mod value;

mod limits;

mod cgroup;
mod pressure;
mod stats;
mod wait;

mod group;
mod place;
mod systemd;

mod error;

#[cfg(test)]
mod testing;

pub use cgroup::Cgroup;
pub use controller::Controller;
pub use error::{Error, LimitError};
pub use group::{Group, remove_after_maker};
pub use host::{Host, Layout};
pub use limits::Limits;
pub use place::{Place, Rejection};
pub use pressure::{Pressure, Stall};
pub use stats::{CpuStats, IoStats, MemoryEvents, MemoryStats, PidsStats, Stats};
pub use systemd::enter_scope;
pub use value::{Bytes, CpuMax, CpuSet, CpuWeight, Device, IoMax, PidsMax};
