//! Debian's kernels: found by name, fetched by apt, unpacked, never installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// A kernel that tests can run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// What it is called here, and how its release begins.
    pub(crate) name: &'static str,
    /// The package that depends on the newest build of it.
    meta: &'static str,
    /// Where to look for it, unless where apt looks by itself.
    suite: Option<&'static str>,
}

/// From the oldest that we promise to the newest there is.
pub(crate) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "6.1",
        meta: "linux-image-cloud-amd64",
        suite: None,
    },
    Kernel {
        name: "6.12",
        meta: "linux-image-6.12-cloud-amd64",
        suite: None,
    },
    Kernel {
        name: "7.3",
        meta: "linux-image-cloud-amd64",
        suite: Some("trixie-backports"),
    },
];

const SUITES: &[(&str, &str)] = &[
    ("http://deb.debian.org/debian", "bookworm"),
    ("http://deb.debian.org/debian-security", "bookworm-security"),
    ("http://deb.debian.org/debian", "trixie-backports"),
];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An unpacked kernel.
pub(crate) struct Unpacked {
    /// As `uname -r` says.
    pub(crate) release: String,
    /// The root of its file tree.
    pub(crate) root: PathBuf,
    pub(crate) image: PathBuf,
}

/// Kernels in a directory, and an apt that looks at nothing of the host's.
pub(crate) struct Store {
    directory: PathBuf,
    updated: bool,
    /// Ask apt again for kernels that are here.
    refresh: bool,
}

impl Store {
    pub(crate) fn new(directory: &Path, refresh: bool) -> Self {
        Self {
            directory: directory.to_path_buf(),
            updated: false,
            refresh,
        }
    }

    /// The newest build of `kernel` as of its last fetch.
    pub(crate) fn get(&mut self, kernel: Kernel) -> Result<Unpacked> {
        let link = self.directory.join("kernels").join(kernel.name);
        if self.refresh || !link.exists() {
            let root = self
                .fetch(kernel)
                .with_context(|| format!("fetching kernel {}", kernel.name))?;
            if link.is_symlink() {
                fs::remove_file(&link).with_context(|| format!("removing {}", link.display()))?;
            }
            symlink(root.file_name().context("a kernel without name")?, &link)
                .with_context(|| format!("linking {}", link.display()))?;
        }
        let root =
            fs::canonicalize(&link).with_context(|| format!("resolving {}", link.display()))?;
        open(root)
    }

    fn fetch(&mut self, kernel: Kernel) -> Result<PathBuf> {
        if !self.updated {
            self.update()?;
            self.updated = true;
        }
        let meta = self.depends(kernel, kernel.meta)?;
        let found = meta
            .iter()
            .filter_map(|package| package.strip_prefix("linux-image-"))
            .find(|release| release.starts_with(|c: char| c.is_ascii_digit()))
            .with_context(|| format!("{} depends on no kernel", kernel.meta))?;
        let belongs = |release: &str| {
            release
                .strip_prefix(kernel.name)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        let release = if belongs(found) {
            found.to_owned()
        } else {
            self.newest(belongs)?.with_context(|| {
                format!(
                    "{} is now {found}, and no {} is left",
                    kernel.meta, kernel.name
                )
            })?
        };
        let image = format!("linux-image-{release}");
        let parts = self.depends(kernel, &image)?;
        let parts = parts
            .into_iter()
            .filter(|package| package.ends_with(&release));
        let packages: Vec<String> = std::iter::once(image).chain(parts).collect();
        self.unpack(kernel, &release, &packages)
    }

    /// The newest build that `belongs`, of those that no meta package names.
    fn newest(&self, belongs: impl Fn(&str) -> bool) -> Result<Option<String>> {
        let names = shell::output(self.apt("apt-cache").args(["pkgnames", "linux-image-"]))?;
        let names = String::from_utf8(names).context("apt's answer is no text")?;
        let number = |release: &str| -> Vec<u32> {
            release
                .split(['.', '+', '-'])
                .map_while(|part| part.parse().ok())
                .collect()
        };
        Ok(names
            .lines()
            .filter_map(|name| name.strip_prefix("linux-image-"))
            .filter(|release| belongs(release) && release.ends_with("-cloud-amd64"))
            .max_by_key(|release| number(release))
            .map(str::to_owned))
    }

    /// The packages that `package` depends on.
    fn depends(&self, kernel: Kernel, package: &str) -> Result<Vec<String>> {
        let mut command = self.apt("apt-cache");
        command.args(
            kernel
                .suite
                .map(|suite| format!("--target-release={suite}")),
        );
        command.args(["depends", "--important", package]);
        let text = shell::output(&mut command)?;
        let text = String::from_utf8(text).context("apt's answer is no text")?;
        Ok(text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .map(str::to_owned)
            .collect())
    }

    /// Downloads the packages and unpacks them into one tree, whose name holds
    /// the version: a tree that is there is complete and stays.
    fn unpack(&self, kernel: Kernel, release: &str, packages: &[String]) -> Result<PathBuf> {
        let debs = self.directory.join("debs").join(release);
        fs::create_dir_all(&debs).with_context(|| format!("making {}", debs.display()))?;
        let mut download = self.apt("apt-get");
        download.args(
            kernel
                .suite
                .map(|suite| format!("--target-release={suite}")),
        );
        download.args(["--quiet=2", "download"]).args(packages);
        eprintln!("fetching {}", packages.join(" "));
        shell::output(download.current_dir(&debs))?;

        let root = self.directory.join("kernels").join(release);
        let partial = root.with_file_name(format!(".{release}"));
        for old in [&root, &partial] {
            if old.exists() {
                fs::remove_dir_all(old).with_context(|| format!("removing {}", old.display()))?;
            }
        }
        for deb in fs::read_dir(&debs).with_context(|| format!("reading {}", debs.display()))? {
            let deb = deb
                .with_context(|| format!("reading {}", debs.display()))?
                .path();
            shell::output(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&partial))?;
        }
        if !partial.join("lib").exists() {
            symlink("usr/lib", partial.join("lib")).context("linking lib to usr/lib")?;
        }
        let depmod = shell::find("depmod").context("depmod is missing")?;
        shell::output(Command::new(depmod).arg("-b").arg(&partial).arg(release))?;
        fs::rename(&partial, &root).with_context(|| format!("naming {}", root.display()))?;
        fs::remove_dir_all(&debs).with_context(|| format!("removing {}", debs.display()))?;
        Ok(root)
    }

    fn update(&self) -> Result<()> {
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing; as root: apt-get install debian-archive-keyring");
        }
        let directory = self.directory.join("apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(part)).with_context(|| format!("making {part}"))?;
        }
        let kernels = self.directory.join("kernels");
        fs::create_dir_all(&kernels).with_context(|| format!("making {}", kernels.display()))?;
        let mut sources = String::new();
        for (address, suite) in SUITES {
            sources.push_str(&format!(
                "deb [arch=amd64 signed-by={KEYRING}] {address} {suite} main\n"
            ));
        }
        fs::write(directory.join("sources.list"), sources).context("writing sources.list")?;
        fs::write(directory.join("status"), "").context("writing the status file")?;
        shell::output(self.apt("apt-get").args(["--quiet=2", "update"]))?;
        Ok(())
    }

    /// An apt command with lists, cache and sources of its own.
    fn apt(&self, program: &str) -> Command {
        let at = |name: &str| self.directory.join("apt").join(name).display().to_string();
        let mut command = Command::new(program);
        for option in [
            format!("Dir::Etc::SourceList={}", at("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }
}

fn open(root: PathBuf) -> Result<Unpacked> {
    let modules = root.join("lib/modules");
    let release = fs::read_dir(&modules)
        .with_context(|| format!("reading {}", modules.display()))?
        .next()
        .with_context(|| format!("{} is empty", modules.display()))?
        .with_context(|| format!("reading {}", modules.display()))?
        .file_name()
        .into_string()
        .map_err(|name| anyhow::anyhow!("the release {} is no text", name.display()))?;
    let image = [
        root.join("boot").join(format!("vmlinuz-{release}")),
        modules.join(&release).join("vmlinuz"),
    ]
    .into_iter()
    .find(|image| image.is_file())
    .with_context(|| format!("no kernel image below {}", root.display()))?;
    Ok(Unpacked {
        release,
        root,
        image,
    })
}
