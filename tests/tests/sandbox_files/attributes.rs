//! What files have beside their content, through a commit.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::copy::{copy, users};
use super::place::Place;

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
const CAPABILITY: &str = "security.capability";
/// `cap_net_raw=ep` (`struct vfs_cap_data`, revision 2).
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An access control list that lets one more user read and write.
fn acl(user: u32) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    let none = u32::MAX;
    // Owner, the user, group, mask, others.
    for (tag, access, id) in [
        (1_u16, 6_u16, none),
        (2, 6, user),
        (4, 4, none),
        (16, 6, none),
        (32, 4, none),
    ] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(access.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    match rustix::fs::getxattr(path, name, &mut value[..]) {
        Ok(length) => Some(value[..length].to_vec()),
        Err(errno) => {
            assert_eq!(errno, Errno::NODATA, "{name} of {}", path.display());
            None
        }
    }
}

#[test]
fn attributes_of_changed_files_are_kept() {
    require!(root, userns, mapped_ids, userland);
    for user in users() {
        let place = Place::new(user);
        place.prepare("mkdir -p ws/folder ws/gone; cd ws; touch file mode folder/file gone/file");
        let at = |path: &str| place.scratch.file("ws").join(path);
        for path in ["", "file", "mode", "folder", "folder/file"] {
            set(&at(path), "user.note", path.as_bytes());
        }
        let change = "echo more > file; chmod 751 mode; mv folder moved; chmod 710 .; \
                      cp -a file copy; rm -r gone; mkdir gone";
        place.run(&copy("commit", change)).code(0);
        for (path, was) in [
            ("", ""),
            ("file", "file"),
            ("mode", "mode"),
            ("copy", "file"),
            ("moved", "folder"),
            ("moved/file", "folder/file"),
        ] {
            let note = get(&at(path), "user.note");
            assert_eq!(note.as_deref(), Some(was.as_bytes()), "{user}: {path}");
        }
        assert_eq!(at("").metadata().unwrap().mode() & 0o777, 0o710);
        assert_eq!(at("mode").metadata().unwrap().mode() & 0o777, 0o751);
        assert_eq!(fs::read_dir(at("gone")).unwrap().count(), 0);
    }
}

/// Of a folder that root lets a program write to as its owner: what names
/// others names them still, and what is a third's stays that one's.
#[test]
fn access_control_lists_and_capabilities_are_kept() {
    require!(root, userns, mapped_ids, userland);
    const OWNER: u32 = 1234;
    const THIRD: u32 = 4321;
    let place = Place::new(0);
    place.prepare("mkdir -p ws/folder; cd ws; touch file mode written third; chmod 666 third");
    let at = |path: &str| place.scratch.file("ws").join(path);
    for path in ["", "folder", "file", "mode", "written"] {
        chown(at(path), Some(OWNER), Some(OWNER)).unwrap();
    }
    chown(at("third"), Some(THIRD), Some(THIRD)).unwrap();
    set(&at("file"), ACCESS, &acl(1000));
    set(&at("folder"), DEFAULT, &acl(1000));
    set(&at(""), DEFAULT, &acl(OWNER));
    set(&at("mode"), CAPABILITY, &NET_RAW);
    set(&at("written"), CAPABILITY, &NET_RAW);
    let change = "echo more >> file; chmod 711 mode; echo more > written; echo more > third; \
                  touch folder/new new; touch \"$(printf 'a\\n\\377')\"";
    place.run(&copy("commit", change)).code(0);
    assert_eq!(get(&at("file"), ACCESS), Some(acl(1000)));
    assert_eq!(get(&at("folder"), DEFAULT), Some(acl(1000)));
    // What is made there inherits it; the file's mode bounds it no further.
    assert_eq!(get(&at("folder/new"), ACCESS), Some(acl(1000)));
    assert_eq!(get(&at(""), DEFAULT), Some(acl(OWNER)));
    assert_eq!(get(&at("new"), ACCESS), Some(acl(OWNER)));
    assert_eq!(get(&at("mode"), CAPABILITY), Some(NET_RAW.to_vec()));
    assert_eq!(get(&at("written"), CAPABILITY), None);
    let owner = |path: &str| at(path).metadata().unwrap().uid();
    assert_eq!((owner("third"), owner("new")), (THIRD, OWNER));
    assert_eq!(fs::read_to_string(at("third")).unwrap(), "more\n");
    let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"a\n\xff");
    assert!(at("").join(name).exists());
    let output = place.run(&copy("diff", "true")).code(0);
    assert_eq!(output.err(), "nucleus: the workspace is unchanged\n");
}
