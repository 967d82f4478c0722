//! The initial file system of a guest: layers that are kept, and the job.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use nucleus_tests::vm::{Cgroups, JOB, Job};

use crate::build::Built;
use crate::shell;
use crate::vm::cpio::Archive;
use crate::vm::kernel::Unpacked;
use crate::vm::tree::{Tree, stripped};
use crate::vm::{modules, systemd, userland};

/// What all guests of a run share.
pub(crate) struct Layers {
    userland: PathBuf,
    /// Where it is installed.
    systemd: Option<PathBuf>,
    tests: PathBuf,
    /// The path of `nucleus`, on the host and in the guest.
    pub(crate) nucleus: String,
}

impl Layers {
    pub(crate) fn write(built: &Built, directory: &Path) -> Result<Self> {
        let layers = directory.join("layers");
        Ok(Self {
            userland: userland::layer(&layers).context("collecting the guest's programs")?,
            systemd: systemd::layer(&layers).context("collecting systemd")?,
            tests: tests(built, directory, &layers).context("collecting the tests")?,
            nucleus: super::text(&built.nucleus)?,
        })
    }

    /// Writes the image for one job to `path`. The kernel unpacks archives
    /// that follow each other.
    pub(crate) fn image(&self, kernel: &Unpacked, job: &Job, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
        let mut out = BufWriter::new(file);
        let mut layers = vec![&self.userland];
        if job.cgroups == Cgroups::Systemd {
            // Has some of the same files with more in them.
            layers.push(self.systemd.as_ref().context("systemd is not installed")?);
        }
        let modules = modules::layer(kernel)?;
        layers.extend([&modules, &self.tests]);
        for layer in layers {
            let mut layer =
                File::open(layer).with_context(|| format!("opening {}", layer.display()))?;
            std::io::copy(&mut layer, &mut out)
                .with_context(|| format!("writing {}", path.display()))?;
        }
        let job = serde_json::to_vec(job).context("writing the job")?;
        let mut archive = Archive::new(out);
        archive
            .file(Path::new(JOB), 0o644, &job)
            .and_then(|()| archive.finish())
            .and_then(|mut out| out.flush())
            .with_context(|| format!("writing {}", path.display()))
    }
}

/// The test binaries and the programs they start, where cargo put them, and
/// the repository's files, which tests read.
fn tests(built: &Built, directory: &Path, layers: &Path) -> Result<PathBuf> {
    let thin = directory.join("stripped");
    let mut tree = Tree::default();
    let mut kept = Vec::new();
    let executables = built.tests.iter().map(|test| &test.executable);
    for program in executables.chain(&built.programs) {
        let small = stripped(program, &thin)?;
        tree.put(program, &small);
        if program.file_name().is_some_and(|name| name == "vm-init") {
            tree.put(Path::new("/init"), &small);
        }
        kept.push(small);
    }
    tree.add_libraries()?;
    let root = shell::root();
    let mut list = Command::new("git");
    list.args(["ls-files", "-z"]).current_dir(&root);
    for name in shell::output(&mut list)?.split(|&byte| byte == 0) {
        let name = std::str::from_utf8(name).context("a file name that is no text")?;
        if !name.is_empty() {
            tree.add(&root.join(name))?;
        }
    }
    for entry in fs::read_dir(&thin).with_context(|| format!("reading {}", thin.display()))? {
        let path = entry
            .with_context(|| format!("reading {}", thin.display()))?
            .path();
        if !kept.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    let path = layers.join(format!("tests-{:016x}.cpio", tree.fingerprint()?));
    if !path.is_file() {
        tree.write_to(&path)?;
    }
    Ok(path)
}
