//! What a profile cannot say as the traces had it.

use std::collections::BTreeSet;
use std::fmt;

use nucleus_seccomp::{Arch, Syscall};

use crate::generate::merge;
use crate::{Error, Trace, unseen};

/// Something that a profile cannot say as the traces had it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Calls that were seen on one architecture are allowed on another, too:
    /// an OCI profile names calls for all its architectures alike.
    Widened {
        /// Where they were seen.
        seen_on: Arch,
        /// Where they are allowed, too.
        allowed_on: Arch,
        /// The calls, ascending.
        names: Vec<&'static str>,
    },
    /// Calls that have no name and so no place in a profile.
    Nameless {
        /// The calls, ascending.
        syscalls: Vec<Syscall>,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Widened {
                seen_on,
                allowed_on,
                names,
            } => write!(
                f,
                "seen on {seen_on} only, allowed on {allowed_on}, too, because an OCI profile \
                 names calls for all its architectures alike: {}",
                names.join(", ")
            ),
            Self::Nameless { syscalls } => {
                f.write_str(
                    "left out, because no table has a name for them \
                     (bare, the kernel most likely answered ENOSYS): ",
                )?;
                for (index, syscall) in syscalls.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{syscall} ({})", syscall.arch())?;
                }
                Ok(())
            }
        }
    }
}

/// What a profile made of `traces` cannot say as they had it; empty for most.
///
/// # Errors
///
/// [`Error::CountOverflow`] as [`Trace::merge`].
pub fn notes(traces: &[Trace]) -> Result<Vec<Note>, Error> {
    let Some(merged) = merge(traces)? else {
        return Ok(Vec::new());
    };
    let seen: BTreeSet<(Arch, &str)> = merged
        .calls
        .keys()
        .filter_map(|syscall| Some((syscall.arch(), syscall.name()?)))
        .collect();
    let archs: BTreeSet<Arch> = merged.calls.keys().map(|syscall| syscall.arch()).collect();
    let mut notes = Vec::new();
    for seen_on in &archs {
        for allowed_on in archs.iter().filter(|arch| *arch != seen_on) {
            let names: Vec<_> = merged
                .calls
                .keys()
                .filter(|syscall| syscall.arch() == *seen_on)
                .filter_map(|syscall| syscall.name())
                .filter(|name| !unseen::ALWAYS.contains(name))
                .filter(|name| !seen.contains(&(*allowed_on, name)))
                .filter(|name| Syscall::by_name(*allowed_on, name).is_some())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
            if !names.is_empty() {
                notes.push(Note::Widened {
                    seen_on: *seen_on,
                    allowed_on: *allowed_on,
                    names,
                });
            }
        }
    }
    let syscalls: Vec<_> = merged
        .calls
        .keys()
        .filter(|syscall| syscall.name().is_none())
        .copied()
        .collect();
    if !syscalls.is_empty() {
        notes.push(Note::Nameless { syscalls });
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use nucleus_seccomp::Completeness;

    use super::*;
    use crate::{Origin, Recorder};

    fn notes_of(calls: &[(Arch, u32)]) -> Vec<Note> {
        let mut recorder = Recorder::new();
        for (arch, nr) in calls {
            recorder.record_without_arguments(arch.audit(), *nr);
        }
        notes(&[recorder.finish(Origin::default(), Completeness::Complete)]).unwrap()
    }

    #[test]
    fn calls_of_one_architecture_only_are_said() {
        const OPEN: (Arch, u32) = (Arch::I386, 5);
        const SOCKETCALL: (Arch, u32) = (Arch::I386, 102);
        const EXECVE: (Arch, u32) = (Arch::X86_64, 59);
        const OPENAT: (Arch, u32) = (Arch::X86_64, 257);
        assert_eq!(notes_of(&[EXECVE, OPENAT]), []);
        assert_eq!(
            notes_of(&[OPEN, SOCKETCALL, EXECVE, OPENAT]),
            [
                Note::Widened {
                    seen_on: Arch::X86_64,
                    allowed_on: Arch::I386,
                    names: vec!["openat"],
                },
                Note::Widened {
                    seen_on: Arch::I386,
                    allowed_on: Arch::X86_64,
                    names: vec!["open"],
                },
            ]
        );
    }

    #[test]
    fn a_number_without_a_name_is_said() {
        let notes = notes_of(&[(Arch::Aarch64, 0), (Arch::Aarch64, 511)]);
        assert_eq!(
            notes,
            [Note::Nameless {
                syscalls: vec![Syscall::new(Arch::Aarch64, 511)]
            }]
        );
        assert!(
            notes[0].to_string().ends_with(": #511 (aarch64)"),
            "{}",
            notes[0]
        );
    }
}
