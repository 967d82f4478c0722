//! What the rules, and whoever is asked, say of what a walk has found.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::{Found, Object, Place, Walk};
use crate::Denial;
use crate::callback::{Arbiter, Category, Context, Event};
use crate::policy::net::caller::path_of;
use crate::policy::net::patience::RESTART;
use crate::policy::path::rules::PathMark;
use crate::policy::path::subject::Ids;

/// What is asked about.
#[derive(Clone, Copy)]
pub(in crate::policy::path) struct Asking<'w> {
    pub(in crate::policy::path) call: &'static str,
    pub(in crate::policy::path) beyond: Beyond<'w>,
}

/// Who judges what the rules allow.
#[derive(Clone, Copy)]
pub(in crate::policy::path) struct Beyond<'w> {
    /// By what was taken away while the program runs.
    pub(in crate::policy::path) tightened: Option<&'w Context>,
    /// Whom to ask.
    pub(in crate::policy::path) arbiter: Option<&'w Arbiter>,
}

impl Found {
    /// Where it is, after all links.
    fn path(&self) -> Result<Vec<u8>, Errno> {
        match (&self.object, &self.place) {
            (Some(object), _) => path_of(object.as_fd()),
            (None, Some(place)) => {
                let folder = path_of(place.folder.as_fd())?;
                Ok([folder.as_slice(), &place.name].join(&b'/'))
            }
            (None, None) => Err(Errno::NOENT),
        }
    }
}

impl Walk<'_> {
    /// The object, if it may be used.
    pub(in crate::policy::path) fn usable(&self, found: Found) -> Result<Object, Errno> {
        self.judge(&found, found.mark)?;
        let object = found.object.ok_or(Errno::NOENT)?;
        if found.slash && object.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(object)
    }

    /// The place, if its name may be made, given to another object or removed.
    /// `without` is what the kernel says to a path without a last name.
    pub(in crate::policy::path) fn changeable<'f>(
        &self,
        found: &'f Found,
        without: Errno,
    ) -> Result<&'f Place, Errno> {
        let place = found.place.as_ref().ok_or(without);
        let folder = place.map_or(PathMark::Grant, |place| place.mark);
        self.judge(found, found.mark.or(folder))?;
        place
    }

    /// Holds a mark against what was found, and asks whoever is to be asked.
    fn judge(&self, found: &Found, mark: PathMark) -> Result<(), Errno> {
        if mark != PathMark::Grant {
            self.say_why(found, mark)?;
        }
        let Beyond { tightened, arbiter } = self.asking.beyond;
        if tightened.is_none() && arbiter.is_none() {
            return mark.ok();
        }
        let Ids { thread, process } = self.subject.outer;
        let request = self.subject.caller.request;
        self.acting.ourselves(|| {
            let within = || match tightened {
                Some(context) => left(context, process, self.subject.root.as_fd(), found),
                None => Ok(()),
            };
            let event = |found: &Found| -> Result<Event, Errno> {
                let mut event = Event::new(self.asking.call, Category::Path, thread);
                event.path = Some(OsString::from_vec(found.path()?).into());
                Ok(event)
            };
            if let Err(errno) = mark.ok().and_then(|()| within()) {
                if mark == PathMark::Grant {
                    self.say_taken(found);
                }
                if let Some(arbiter) = arbiter {
                    arbiter.tell_denied(event(found)?);
                }
                return Err(errno);
            }
            let Some(arbiter) = arbiter else {
                return Ok(());
            };
            let waits = || request.is_waiting().unwrap_or(false);
            let verdict = arbiter.ask_and_wait(event(found)?, waits);
            let verdict = verdict.ok_or(RESTART)?;
            // It may have been taken away meanwhile, by the verdict itself.
            let ends = within().and_then(|()| verdict.ok());
            if ends.is_err() {
                self.say_taken(found);
            }
            ends
        })
    }

    /// Says that it is not a rule that denies something.
    fn say_taken(&self, found: &Found) {
        let path = found.path().unwrap_or_default();
        self.subject.caller.request.denied_because(Denial {
            what: format!("{} of {}", self.asking.call, path.escape_ascii()),
            why: "the policy that is asked denies it".to_owned(),
            remedy: None,
        });
    }

    fn say_why(&self, found: &Found, mark: PathMark) -> Result<(), Errno> {
        let Some(path) = self.acting.ourselves(|| Ok(found.path().ok()))? else {
            return Ok(());
        };
        let path = path.escape_ascii();
        let rule = match mark {
            PathMark::Hide => "a rule hides it (--path-hide)",
            PathMark::Deny | PathMark::Grant => "a rule denies it (--path-deny)",
        };
        self.subject.caller.request.denied_because(Denial {
            what: format!("{} of {path}", self.asking.call),
            why: rule.to_owned(),
            remedy: Some(format!("add --path-grant {path}")),
        });
        Ok(())
    }
}

/// Whether nothing that was found was taken away from a process.
fn left(context: &Context, process: u32, root: BorrowedFd<'_>, found: &Found) -> Result<(), Errno> {
    for rules in context.denied(process, root)? {
        if let Some(object) = &found.object {
            rules.judge(root, object.as_fd())?;
        }
        if let Some(place) = &found.place {
            rules.judge_name(root, place.folder.as_fd(), &place.name)?;
        }
    }
    Ok(())
}
