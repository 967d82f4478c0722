//! Whom a program may talk to: what the tests of that share.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::nucleus::{self, Said as _};
use crate::scratch::Scratch;

const ALLOW_ALL: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW",
    "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32","SCMP_ARCH_AARCH64"]}"#;

/// nucleus and the probe in a folder that everybody can enter.
#[derive(Debug)]
pub struct Place {
    /// The folder.
    pub scratch: Scratch,
    user: Option<u32>,
}

impl Place {
    /// For this user or, when root tests, for another one; with a probe.
    #[must_use]
    pub fn new(user: Option<u32>, probe: &str) -> Self {
        let scratch = Scratch::new();
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(nucleus::path(), scratch.file("nucleus")).unwrap();
        fs::copy(probe, scratch.file("probe")).unwrap();
        fs::write(scratch.file("all.json"), ALLOW_ALL).unwrap();
        Self { scratch, user }
    }

    /// Runs nucleus there.
    #[must_use]
    pub fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(self.scratch.file("nucleus"));
        command
            .arg("run")
            .args(words)
            .current_dir(self.scratch.path())
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.output().unwrap()
    }

    /// What the probe says under a rule, with everything else allowed.
    #[must_use]
    pub fn probe(&self, options: &[&str], words: &[&str]) -> BTreeMap<String, i64> {
        let fixed = ["--seccomp-profile", "all.json"];
        let words = [&fixed[..], options, &["--", "./probe"], words].concat();
        self.run(&words).code(0).numbers()
    }
}

/// A port of 127.0.0.1 that takes TCP and UDP.
#[derive(Debug)]
pub struct Port {
    /// By TCP.
    pub tcp: TcpListener,
    /// By UDP.
    pub udp: UdpSocket,
}

impl Port {
    /// One that is free.
    #[must_use]
    pub fn open() -> Self {
        loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                return Self { tcp, udp };
            }
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> String {
        self.tcp.local_addr().unwrap().port().to_string()
    }

    /// A rule that allows it.
    #[must_use]
    pub fn rule(&self) -> String {
        format!("127.0.0.1:{}", self.number())
    }

    /// Accepts whoever comes by TCP, to the end of the process.
    pub fn accept(&self) {
        let accepting = self.tcp.try_clone().unwrap();
        thread::spawn(move || accepting.incoming().for_each(drop));
    }

    /// Nobody has come.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        self.tcp.set_nonblocking(true).unwrap();
        self.udp.set_nonblocking(true).unwrap();
        self.tcp.accept().is_err() && self.udp.recv(&mut [0]).is_err()
    }
}
