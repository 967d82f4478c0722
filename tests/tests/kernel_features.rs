//! The facts of `docs/kernel-features.md`, on whatever kernel this is.

use nucleus_seccomp::KernelVersion;
use nucleus_tests::kernel::{FEATURES, landlock_abi};
use nucleus_tests::require;

#[test]
fn features_are_there_since_the_stated_version() {
    let kernel = KernelVersion::running().unwrap();
    let mut wrong = Vec::new();
    let mut unseen = Vec::new();
    for feature in FEATURES {
        match feature.is_there().unwrap() {
            None => unseen.push(feature.name),
            Some(there) if there == (kernel >= feature.since) => {}
            Some(there) => wrong.push(format!(
                "{} is there: {there}, though since {}",
                feature.name, feature.since
            )),
        }
    }
    assert!(wrong.is_empty(), "on {kernel}: {wrong:#?}");
    if !unseen.is_empty() {
        require::say(&format!("not seen from here: {}", unseen.join(", ")));
    }
}

/// The kernel that brought each ABI of Landlock.
const LANDLOCK: &[(i32, KernelVersion)] = &[
    (1, KernelVersion::new(5, 13)),
    (2, KernelVersion::new(5, 19)),
    (3, KernelVersion::new(6, 2)),
    (4, KernelVersion::new(6, 7)),
    (5, KernelVersion::new(6, 10)),
    (6, KernelVersion::new(6, 12)),
    (7, KernelVersion::new(6, 15)),
];

#[test]
fn landlock_has_the_abi_of_its_kernel() {
    require!(landlock(1));
    let kernel = KernelVersion::running().unwrap();
    let expected = LANDLOCK.iter().rfind(|(_, since)| kernel >= *since);
    let (expected, _) = expected.unwrap();
    let found = landlock_abi().unwrap();
    // Newer kernels than the table's may have more.
    let newest = LANDLOCK.last().unwrap().0;
    assert!(
        found == *expected || (*expected == newest && found > newest),
        "ABI {found} and not {expected} on {kernel}"
    );
}
