//! Makes the layers, in the child: nothing allocates.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, XattrFlags};
use rustix::mount::{MountFlags, UnmountFlags};

use super::{Overlay, UPPER_PATH, WORK_PATH};
use crate::mounts;
use crate::plan::MountAttr;
use crate::report::{Call, Context, Fault};

/// Where the layers are until they are mounted, which keeps them by itself.
const STAGE: &CStr = c"/.nucleus";
const LOWER: &CStr = c"/.nucleus/lower";
const UPPER: &CStr = c"/.nucleus/upper";
const WORK: &CStr = c"/.nucleus/work";

/// Where a layer that is there already is attached.
const KEPT: &CStr = c"/.nucleus/kept";

/// The options of the overlay. Renamed folders are copied, as a host without
/// overlayfs would between file systems: an upper layer with redirections could
/// name any lower folder. `user_xattr`: marks are such as an ordinary user may
/// set (5.11).
pub(crate) fn options(kept: bool, user_xattr: bool) -> String {
    let (upper, work) = if kept {
        (format!("kept/{UPPER_PATH}"), format!("kept/{WORK_PATH}"))
    } else {
        ("upper".to_owned(), "work".to_owned())
    };
    let marks = if user_xattr { ",userxattr" } else { "" };
    format!(
        "lowerdir=/.nucleus/lower,upperdir=/.nucleus/{upper},workdir=/.nucleus/{work},\
         redirect_dir=nofollow,metacopy=off,index=off,xino=off{marks}"
    )
}

/// Mounts an upper layer over `lower`, a new one unless it is in `kept`;
/// returns the new one.
pub(crate) fn mount(
    lower: BorrowedFd<'_>,
    kept: Option<BorrowedFd<'_>>,
    overlay: &Overlay,
) -> Result<OwnedFd, Fault> {
    let attr = MountAttr::NOSUID | MountAttr::NODEV;
    mounts::make_dir(STAGE, 0o700)?;
    mounts::tmpfs(STAGE, &overlay.memory, attr)?;
    for (path, mode) in [
        (LOWER, 0o700),
        (WORK, 0o700),
        (UPPER, overlay.mode),
        (KEPT, 0o700),
    ] {
        mounts::make_dir(path, mode)?;
    }
    if let Some((uid, gid)) = overlay.owner {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chown(UPPER, Some(uid), Some(gid)).call(Call::Chown)?;
    }
    for (name, value) in &overlay.attributes {
        let flags = XattrFlags::empty();
        rustix::fs::setxattr(UPPER, name.as_c_str(), value, flags).call(Call::SetXattr)?;
    }
    mounts::attach(lower, LOWER)?;
    if let Some(kept) = kept {
        mounts::attach(kept, KEPT)?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let (target, options) = (overlay.target.as_c_str(), overlay.options.as_c_str());
    rustix::mount::mount(c"overlay", target, c"overlay", flags, options)
        .call(Call::MountOverlay)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let upper = rustix::fs::openat(CWD, UPPER, flags, Mode::empty()).call(Call::Open)?;
    rustix::mount::unmount(STAGE, UnmountFlags::DETACH).call(Call::Umount)?;
    rustix::fs::rmdir(STAGE).call(Call::Rmdir)?;
    Ok(upper)
}
