//! Files and folders of the host.

use std::process::Command;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;

use super::place::{Place, USERS};

#[test]
fn a_volume_is_what_its_name_means_at_the_start() {
    require!(root, userns, mapped_ids);
    for user in USERS {
        let place = Place::new(user);
        place.prepare("mkdir v; echo text > v/file; ln -s v link");
        let show = "cat /data/file; echo more > /data/new";
        let output = place.run(&["-v", "link:/data:rw", "--", "sh", "-c", show]);
        assert_eq!(output.code(0).out(), "text\n");
        place.prepare("test $(cat v/new) = more");
    }
}

#[test]
fn a_volume_that_is_not_there_is_an_error_before_the_start() {
    require!(root, userns);
    for user in USERS {
        let place = Place::new(user);
        let output = place.run(&["-v", "./absent:/data", "--", "echo", "started"]);
        let output = output.code(125);
        assert_eq!(output.out(), "");
        assert_eq!(
            output.err(),
            "nucleus: could not open the volume \"./absent\"; create it, or correct the path: No such file or directory (os error 2)\n"
        );
    }
}

#[test]
fn a_file_system_that_cannot_map_ids_is_named() {
    require!(root, tool("unshare"), tool("mount"));
    let place = Place::new(0);
    place.prepare("mkdir volume");
    let script = "mount -t ramfs none volume && ./nucleus run -v volume:/data:rw -- true";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .current_dir(place.scratch.path())
        .output()
        .unwrap()
        .code(125);
    for part in [
        "the ramfs file system",
        "volume",
        "run nucleus as the owner",
    ] {
        assert!(output.err().contains(part), "{part}: {}", output.err());
    }
}
