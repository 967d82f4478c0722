//! Whom a program may talk to: what the tests of that share.

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::thread;

use crate::nucleus::Said as _;
use crate::place::Place;

const ALLOW_ALL: &str = r#"{"defaultAction":"SCMP_ACT_ALLOW",
    "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32","SCMP_ARCH_AARCH64"]}"#;

impl Place {
    /// A new folder with a probe, for a user or whoever tests.
    #[must_use]
    pub fn with_probe(user: Option<u32>, probe: &str) -> Self {
        let place = Self::new().of(user);
        place.add("probe", probe.as_ref());
        place.write("all.json", ALLOW_ALL);
        place
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
