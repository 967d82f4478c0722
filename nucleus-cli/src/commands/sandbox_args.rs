//! What every command that runs a program takes: the sandbox around it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use caps::CapSet;
use clap::builder::{OsStringValueParser, TypedValueParser};
use nucleus_core::{Access, Command, Isolation, Network, Resource, Terminal, View};

use super::limits::{LimitArgs, Limited};
use super::program::Program;

/// The sandbox around the program.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sandbox")]
pub(crate) struct SandboxArgs {
    /// Leave the program in the host's view, with the seccomp filter alone
    #[arg(long, conflicts_with_all = [
        "volumes", "workspace", "tmpfs", "network", "hostname", "hosts", "no_landlock",
        "allow_nested", "limits",
    ])]
    host: bool,

    /// Show a file or folder of the host; read-only unless :rw is added
    #[arg(
        short = 'v',
        long = "volume",
        value_name = "SRC:DST[:ro|rw]",
        value_parser = OsStringValueParser::new().try_map(volume)
    )]
    volumes: Vec<Volume>,

    /// Let the program write to this folder, and start there
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,

    /// Give the program an empty folder in memory, of SIZE bytes (K, M, G)
    #[arg(
        long,
        value_name = "DST[:SIZE]",
        value_parser = OsStringValueParser::new().try_map(tmpfs)
    )]
    tmpfs: Vec<Tmpfs>,

    /// What the program can reach: nothing but itself, or all that the host can
    #[arg(long, value_enum, default_value_t = NetworkArg::None)]
    network: NetworkArg,

    /// Name of the machine that the program sees
    #[arg(long, default_value = "sandbox", value_name = "NAME")]
    hostname: OsString,

    /// Add a line to /etc/hosts
    #[arg(long = "add-host", value_name = "NAME:IP", value_parser = host_line)]
    hosts: Vec<(String, IpAddr)>,

    /// Set a variable of the environment, or pass on the caller's
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<OsString>,

    /// Start the program in this folder of the sandbox
    #[arg(short = 'w', long, value_name = "DIR")]
    workdir: Option<PathBuf>,

    /// Limit a resource: as, core, cpu, fsize, nofile, nproc or stack
    #[arg(long = "rlimit", value_name = "NAME=N", value_parser = limit)]
    limits: Vec<(Resource, u64)>,

    /// Do without Landlock, which repeats the grants of the mounts
    #[arg(long)]
    no_landlock: bool,

    /// Let the program make namespaces, for a sandbox inside; implies
    /// --no-landlock
    #[arg(long)]
    allow_nested: bool,

    #[command(flatten)]
    cgroup: LimitArgs,
}

/// A command, and what it is confined by for as long as this lives.
#[derive(Debug)]
pub(crate) struct Sandboxed {
    command: Command,
    _limited: Option<Limited>,
}

impl Deref for Sandboxed {
    type Target = Command;

    fn deref(&self) -> &Command {
        &self.command
    }
}

impl DerefMut for Sandboxed {
    fn deref_mut(&mut self) -> &mut Command {
        &mut self.command
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum NetworkArg {
    /// Its own loopback device
    None,
    /// The host's network
    Host,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Volume {
    source: PathBuf,
    target: PathBuf,
    access: Access,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tmpfs {
    target: PathBuf,
    size: Option<u64>,
}

impl SandboxArgs {
    /// The program in this sandbox, without a filter yet.
    pub(crate) fn command(&self, program: &Program) -> anyhow::Result<Sandboxed> {
        let [name, arguments @ ..] = program.command.as_slice() else {
            anyhow::bail!("no program given; put it behind --, as in: -- ls -l /");
        };
        let mut command = Command::new(name);
        command.args(arguments);
        command.view(self.view()?);
        if let Some(folder) = self.start_folder()? {
            command.current_dir(folder);
        }
        for variable in &self.env {
            match split_at_byte(variable, b'=') {
                (name, Some(value)) => command.env(name, value),
                (name, None) => match std::env::var_os(name) {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                },
            };
        }
        let limited = self.cgroup.apply(&mut command)?;
        Ok(Sandboxed {
            command,
            _limited: limited,
        })
    }

    fn view(&self) -> anyhow::Result<View> {
        if self.host {
            return Ok(View::Host);
        }
        let mut sandbox = Isolation::new()
            .network(match self.network {
                NetworkArg::None => Network::None,
                NetworkArg::Host => Network::Host,
            })
            .terminal(if std::io::stdin().is_terminal() {
                Terminal::Shared
            } else {
                Terminal::Detached
            })
            .hostname(&self.hostname)
            .landlock(!self.no_landlock)
            .nested(self.allow_nested);
        for (name, address) in &self.hosts {
            sandbox = sandbox.add_host(name, *address);
        }
        for (resource, value) in &self.limits {
            sandbox = sandbox.limit(*resource, *value);
        }
        if let Some(workspace) = self.workspace_folder()? {
            sandbox = sandbox.volume(&workspace, &workspace, Access::ReadWrite);
        }
        for volume in &self.volumes {
            sandbox = sandbox.volume(&volume.source, &volume.target, volume.access);
        }
        for tmpfs in &self.tmpfs {
            sandbox = sandbox.tmpfs(&tmpfs.target, tmpfs.size);
        }
        Ok(View::Isolated(sandbox))
    }

    /// The workspace by its real path, which is where the program sees it.
    fn workspace_folder(&self) -> anyhow::Result<Option<PathBuf>> {
        let Some(folder) = &self.workspace else {
            return Ok(None);
        };
        let real = folder
            .canonicalize()
            .with_context(|| format!("cannot find the workspace {}", folder.display()))?;
        ensure!(
            real.is_dir(),
            "the workspace {} is not a folder; grant a single file with --volume SRC:DST:rw",
            folder.display()
        );
        Ok(Some(real))
    }

    fn start_folder(&self) -> anyhow::Result<Option<PathBuf>> {
        match &self.workdir {
            Some(folder) => Ok(Some(folder.clone())),
            None => self.workspace_folder(),
        }
    }

    /// Whether the program may make namespaces of its own.
    pub(crate) const fn nested(&self) -> bool {
        self.allow_nested
    }

    /// The capabilities that the program will be able to have, by the kernel's
    /// names: what conditions of a profile are decided by.
    pub(crate) fn capabilities(&self) -> anyhow::Result<BTreeSet<String>> {
        if !self.host {
            return Ok(BTreeSet::new());
        }
        let bounding = caps::read(None, CapSet::Effective)
            .context("cannot read the capabilities of this process")?;
        Ok(bounding.iter().map(ToString::to_string).collect())
    }
}

/// What stands before the first such byte, and what stands behind it.
fn split_at_byte(text: &OsStr, separator: u8) -> (&OsStr, Option<&OsStr>) {
    let bytes = text.as_bytes();
    match bytes.iter().position(|&byte| byte == separator) {
        Some(at) => {
            let (before, behind) = bytes.split_at(at);
            let behind = behind.get(1..).unwrap_or_default();
            (OsStr::from_bytes(before), Some(OsStr::from_bytes(behind)))
        }
        None => (text, None),
    }
}

fn volume(text: OsString) -> Result<Volume, String> {
    let (source, rest) = split_at_byte(&text, b':');
    let rest = rest.ok_or("a volume is written SRC:DST, SRC:DST:ro or SRC:DST:rw")?;
    let (target, access) = split_at_byte(rest, b':');
    let access = match access.map(OsStr::as_bytes) {
        None | Some(b"ro") => Access::ReadOnly,
        Some(b"rw") => Access::ReadWrite,
        Some(_) => return Err("behind the second colon of a volume stands ro or rw".to_owned()),
    };
    if source.is_empty() || !target.as_bytes().starts_with(b"/") {
        return Err("a volume needs a source, and a target that begins with /".to_owned());
    }
    Ok(Volume {
        source: source.into(),
        target: target.into(),
        access,
    })
}

fn tmpfs(text: OsString) -> Result<Tmpfs, String> {
    let (target, limit) = split_at_byte(&text, b':');
    let size = match limit {
        None => None,
        Some(limit) => Some(size(limit.to_str().unwrap_or_default())?),
    };
    Ok(Tmpfs {
        target: target.into(),
        size,
    })
}

/// A number of bytes, or of K, M or G.
fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| format!("{text:?} is no size; write a number, or one with K, M or G"))
}

fn host_line(text: &str) -> Result<(String, IpAddr), String> {
    let (name, address) = text
        .split_once(':')
        .ok_or("a host is written NAME:IP, such as db:127.0.0.1")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err(format!("{name:?} is no host name"));
    }
    let address = address.trim_matches(['[', ']']);
    match address.parse() {
        Ok(address) => Ok((name.to_owned(), address)),
        Err(_) => Err(format!("{address:?} is no IP address")),
    }
}

fn limit(text: &str) -> Result<(Resource, u64), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("a limit is written NAME=N, such as nofile=256")?;
    let resource = match name {
        "as" => Resource::AddressSpace,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "fsize" => Resource::FileSize,
        "nofile" => Resource::OpenFiles,
        "nproc" => Resource::Processes,
        "stack" => Resource::Stack,
        _ => {
            return Err(format!(
                "{name:?} is no limit; there are as, core, cpu, fsize, nofile, nproc and stack"
            ));
        }
    };
    match value {
        "0" => Ok((resource, 0)),
        _ => size(value).map(|value| (resource, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_read_only_unless_they_say_so() {
        let check = |text: &str, expected: Option<(&str, &str, Access)>| {
            let parsed = volume(OsString::from(text)).ok();
            let expected = expected.map(|(source, target, access)| Volume {
                source: source.into(),
                target: target.into(),
                access,
            });
            assert_eq!(parsed, expected, "{text}");
        };
        check("a:/b", Some(("a", "/b", Access::ReadOnly)));
        check("/a:/b:ro", Some(("/a", "/b", Access::ReadOnly)));
        check("/a:/b:rw", Some(("/a", "/b", Access::ReadWrite)));
        check("/a", None);
        check("/a:b", None);
        check(":/b", None);
        check("/a:/b:rx", None);
        check("/a:/b:rw:z", None);
    }

    #[test]
    fn sizes_have_units_and_an_end() {
        assert_eq!(size("17"), Ok(17));
        assert_eq!(size("2K"), Ok(2048));
        assert_eq!(size("1g"), Ok(1 << 30));
        for wrong in [
            "",
            "K",
            "0",
            "-1",
            "1T",
            "99999999999999999999",
            "20000000000G",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_and_limits_are_checked() {
        assert!(host_line("db:10.0.0.1").is_ok());
        assert!(host_line("db:[::1]").is_ok());
        assert!(host_line("db").is_err());
        assert!(host_line("d b:1.1.1.1").is_err());
        assert_eq!(limit("core=0"), Ok((Resource::Core, 0)));
        assert!(limit("colour=1").is_err());
    }
}
