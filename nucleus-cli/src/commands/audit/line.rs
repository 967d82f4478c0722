//! A denial as a line for people.

use std::fmt;
use std::time::UNIX_EPOCH;

use nucleus_audit::{Belonging, Event};
use nucleus_seccomp::{Action, Arch};

use crate::denials;

/// One line.
#[derive(Debug)]
pub(super) struct Human<'a>(pub(super) &'a Event, pub(super) Belonging);

impl fmt::Display for Human<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(event, belonging) = self;
        let since = event
            .time
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        if let Some(since) = since {
            write!(f, "{:.3} ", since.as_secs_f64())?;
        }
        f.write_str(&denials::name(&event.call))?;
        let arch = Arch::of(event.call.arch, event.call.nr);
        if let Some(arch) = arch.filter(|_| arch != Arch::native()) {
            write!(f, " ({arch})")?;
        }
        match event.action {
            // The kernel's record leaves the number out.
            Action::Errno(_) => f.write_str(" errno")?,
            Action::Trap(_) => f.write_str(" trap")?,
            action => write!(f, " {action}")?,
        }
        write!(f, " pid {}", event.pid)?;
        if let Some(comm) = &event.comm {
            write!(f, " {}", comm.display())?;
        }
        if let Some(exe) = &event.exe {
            write!(f, " {}", exe.display())?;
        }
        if *belonging == Belonging::Unattributed {
            f.write_str(" (perhaps not the target's)")?;
        }
        Ok(())
    }
}
