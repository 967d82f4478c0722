//! Folders of `/proc` that no program sees.

use std::path::Path;

use nucleus_tests::nucleus::Said as _;
use nucleus_tests::require;

use super::place::USERS;
use super::rootfs;

/// Folders that tell about the host, where the kernel has them.
const MASKED: [&str; 3] = ["/proc/acpi", "/proc/asound", "/proc/scsi"];

/// Looks at each folder, and tries to change it as its owner or root could.
const SCRIPT: &str = r#"
for folder in "$@"; do
  echo "$folder:" $(ls -A "$folder")
  mkdir "$folder/new" || echo stays empty
  chmod 777 "$folder" || echo stays closed
  while read -r line; do
    case "$line" in *" $folder ro,nosuid,nodev,noexec,"*) echo is sealed;; esac
  done < /proc/self/mountinfo
done
"#;

#[test]
fn masked_folders_are_empty_and_stay_so() {
    require!(root, userns, mapped_ids, tool("busybox"));
    let masked: Vec<_> = MASKED
        .into_iter()
        .filter(|folder| Path::new(folder).exists())
        .collect();
    let expected: String = masked
        .iter()
        .map(|folder| format!("{folder}:\nstays empty\nstays closed\nis sealed\n"))
        .collect();
    for user in USERS {
        let place = rootfs::place(user);
        for options in [
            &[][..],
            &["--user", "0:0"],
            &["--no-landlock"],
            &["--rootfs", "image"],
            &["--rootfs", "image", "--rootfs-mode", "overlay"],
        ] {
            let script = ["--", "sh", "-c", SCRIPT, "sh"];
            let words = [options, &script, &masked].concat();
            let output = place.run(&words).code(0);
            assert_eq!(output.out(), expected, "{user} {options:?}");
        }
    }
}
