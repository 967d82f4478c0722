//! Directory trees that stand in for a mounted hierarchy.

use std::path::Path;

use crate::Cgroup;
use crate::cgroup::open_dir;

/// Makes a directory with files and opens it as a cgroup.
pub(crate) fn fake(tree: &Path, name: &str, files: &[(&str, &str)]) -> Cgroup {
    let path = tree.join(name);
    std::fs::create_dir_all(&path).expect("a directory");
    for (file, content) in files {
        std::fs::write(path.join(file), content).expect("a file");
    }
    let dir = open_dir(rustix::fs::CWD, &path).expect("opened");
    Cgroup::from_dir(dir, path)
}
