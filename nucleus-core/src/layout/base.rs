//! What every sandbox has: programs and libraries, a small `/etc`, folders of
//! its own.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use super::builder::{Builder, READ_ONLY};
use crate::cpath::CPath;
use crate::error::LaunchError;
use crate::host;
use crate::ids::GUEST;
use crate::isolation::{Isolation, Network};
use crate::plan::MountAttr;
use crate::source::Source;

impl Builder<'_> {
    /// Programs and libraries.
    pub(super) fn base(&mut self) {
        for (path, node) in &self.host.system {
            self.show(path, node);
        }
        self.link(c"/var/run", c"/run");
        self.link(c"/var/tmp", c"/tmp");
        self.folder(c"/run", 0o755);
    }

    /// What the host may show of its `/etc`, and what is made for the sandbox.
    pub(super) fn etc(&mut self, sandbox: &Isolation) -> Result<(), LaunchError> {
        for (path, node) in &self.host.etc {
            self.show(path, node);
        }
        let (passwd, group) = self.accounts();
        self.file(c"/etc/passwd", passwd);
        self.file(c"/etc/group", group);
        let hostname = sandbox.hostname.as_bytes();
        self.file(c"/etc/hostname", [hostname, b"\n"].concat());
        self.file(c"/etc/hosts", hosts(sandbox));
        self.file(
            c"/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\n\
             protocols: files\nservices: files\n",
        );
        self.link(c"/etc/mtab", c"/proc/self/mounts");
        if let Some(nameserver) = sandbox.nameserver {
            self.file(c"/etc/resolv.conf", format!("nameserver {nameserver}\n"));
        } else if sandbox.network == Network::Host {
            let path = CPath::from(c"/etc/resolv.conf");
            let real = path.as_path().canonicalize().ok();
            if let Some(real) = real.filter(|real| real.is_file()) {
                let source = Source::Path(CPath::new(&real)?);
                self.bind(source, path, false, READ_ONLY, None);
            }
        }
        Ok(())
    }

    pub(super) fn private_folders(&mut self) -> Result<(), LaunchError> {
        let fifth = self.share(20);
        self.private(c"/tmp", 0o1777, false, MountAttr::empty(), fifth)?;
        let home = self.home.clone();
        self.private(home, 0o700, true, MountAttr::empty(), fifth)?;
        // Git refuses a repository of another owner, as the host's are when
        // root runs the program; where it looks beside the home folder depends
        // on how it was built.
        self.file(self.home.join(b".gitconfig"), "[safe]\n\tdirectory = *\n");
        Ok(())
    }

    /// The content of `/etc/passwd` and `/etc/group`.
    pub(super) fn accounts(&self) -> (String, String) {
        let (uid, gid) = self.ids.inside;
        let name = self.user_name();
        let home = self.home.as_path().to_string_lossy();
        let mut passwd = String::new();
        let mut group = String::new();
        if uid != 0 {
            passwd.push_str("root:x:0:0:root:/root:/usr/sbin/nologin\n");
        }
        if gid != 0 {
            group.push_str("root:x:0:\n");
        }
        // A colon would end the field; the shell needs no right home there.
        let home = if home.contains([':', '\n']) {
            "/"
        } else {
            &*home
        };
        let _infallible = writeln!(passwd, "{name}:x:{uid}:{gid}::{home}:/bin/sh");
        let own_group = if gid == 0 { "root" } else { &name };
        let _infallible = writeln!(group, "{own_group}:x:{gid}:");
        if uid != 65534 {
            passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
        }
        if gid != 65534 {
            group.push_str("nogroup:x:65534:\n");
        }
        (passwd, group)
    }

    /// The name of the program's user: the host's where it is a user of the
    /// host.
    fn user_name(&self) -> String {
        let (inside, outside) = (self.ids.inside.0, self.ids.outside.0);
        if inside == 0 {
            "root".to_owned()
        } else if inside != outside {
            GUEST.0.to_owned()
        } else {
            let nameless = if inside == self.host.uid {
                "user"
            } else {
                GUEST.0
            };
            host::user_name(inside).unwrap_or_else(|| nameless.to_owned())
        }
    }
}

/// The content of `/etc/hosts`.
pub(super) fn hosts(sandbox: &Isolation) -> Vec<u8> {
    let hostname = sandbox.hostname.as_bytes();
    let mut hosts = b"127.0.0.1 localhost ".to_vec();
    hosts.extend_from_slice(hostname);
    hosts.extend_from_slice(b"\n::1 localhost ip6-localhost ip6-loopback\n");
    for (name, address) in &sandbox.hosts {
        hosts.extend_from_slice(format!("{address} ").as_bytes());
        hosts.extend_from_slice(name.as_bytes());
        hosts.push(b'\n');
    }
    hosts
}
