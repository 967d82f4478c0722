//! The record parser on real lines, on made ones and on rubbish.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nucleus_audit::{RecordError, SeccompRecord, call_in_line};
use proptest::prelude::*;

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(name)
}

/// Compares what is made of each line of a file with the golden one beside it;
/// `NUCLEUS_TEST_BLESS=1` rewrites that.
fn check_lines<T: std::fmt::Debug>(name: &str, read: impl Fn(&[u8]) -> Result<T, RecordError>) {
    let lines = fs::read(data(&format!("{name}.txt"))).unwrap();
    let mut text = String::new();
    for line in lines.split(|&byte| byte == b'\n') {
        match read(line) {
            Ok(record) => writeln!(text, "{record:#?}").unwrap(),
            Err(error) => writeln!(text, "{error}").unwrap(),
        }
    }
    let golden = data(&format!("{name}.golden"));
    if std::env::var_os("NUCLEUS_TEST_BLESS").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(golden).unwrap());
}

#[test]
fn real_lines_of_every_variant() {
    check_lines("records", SeccompRecord::from_line);
}

/// Of ausearch 3.0.9 with `--interpret`, and of systemd's journal.
#[test]
fn lines_of_programs_that_retell_records() {
    check_lines("retold", call_in_line);
}

/// A string as the kernel prints what it does not trust.
fn untrusted(bytes: &[u8]) -> String {
    let plain = |byte: &u8| (0x21..=0x7e).contains(byte) && *byte != b'"';
    if bytes.iter().all(plain) {
        format!("\"{}\"", str::from_utf8(bytes).unwrap())
    } else {
        bytes.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02X}").unwrap();
            hex
        })
    }
}

fn line(pid: u32, comm: &[u8], exe: &[u8], syscall: i32) -> Vec<u8> {
    let (comm, exe) = (untrusted(comm), untrusted(exe));
    format!(
        "audit: type=1326 audit(1795304666.215:617): auid=1 uid=2 gid=3 ses=4 pid={pid} comm={comm} \
         exe={exe} sig=31 arch=c000003e syscall={syscall} compat=0 ip=0x7f5f69bff829 code=0x50000"
    )
    .into_bytes()
}

/// Bytes with a liking for what could look like fields.
fn hostile(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(1..=u8::MAX, 0..8),
        Just(b" pid=1 ".to_vec()),
        Just(b"pid=1".to_vec()),
        Just(b"\" exe=\"/x\" syscall=0 code=0x0".to_vec()),
        Just(b"ARCH=x code=0x7fff0000".to_vec()),
        Just(b"type=1326 audit(1.2:3): ".to_vec()),
        Just(b"subj=".to_vec()),
        Just(b" arch=x86_64 syscall=socket compat=0 ip=0x1 code=errno".to_vec()),
        Just(b"type=SECCOMP msg=audit(1/1/26 1:1:1.1:3) : ".to_vec()),
        Just(b"audit[1]: SECCOMP ".to_vec()),
    ];
    prop::collection::vec(piece, 0..4).prop_map(move |pieces| {
        let mut bytes = pieces.concat();
        bytes.truncate(max);
        bytes
    })
}

proptest! {
    #[test]
    fn no_value_poses_as_a_field(pid: u32, comm in hostile(15), exe in hostile(200), syscall: i32) {
        let record = SeccompRecord::from_line(&line(pid, &comm, &exe, syscall)).unwrap();
        prop_assert_eq!(record.pid, pid);
        prop_assert_eq!(record.comm.into_vec(), comm);
        prop_assert_eq!(record.exe.unwrap().into_os_string().into_vec(), exe);
        prop_assert_eq!(record.syscall, syscall.cast_unsigned());
    }

    #[test]
    fn no_value_poses_as_the_call_of_an_interpreted_record(comm in hostile(15), exe in hostile(200)) {
        let mut line = b"type=SECCOMP msg=audit(11/21/26 23:44:27.003:627) : auid=root uid=root \
            gid=root ses=7 pid=43 comm=".to_vec();
        line.extend_from_slice(&comm);
        line.extend_from_slice(b" exe=");
        line.extend_from_slice(&exe);
        line.extend_from_slice(b" sig=SIG0 arch=x86_64 syscall=mount compat=0 ip=0x7f code=errno ");
        let call = call_in_line(&line).unwrap();
        prop_assert_eq!((call.arch, call.nr), (0xc000_003e, 165));
    }

    #[test]
    fn a_label_cannot_pose_as_fields(label in "[ -~]{0,40}") {
        let text = String::from_utf8(line(7, b"x", b"/x", 1)).unwrap();
        let text = text.replace("ses=4 ", &format!("ses=4 subj={label} "));
        let record = SeccompRecord::from_line(text.as_bytes()).unwrap();
        prop_assert_eq!(record.pid, 7);
        prop_assert_eq!(record.comm.as_bytes(), b"x");
    }

    #[test]
    fn a_line_cut_short_is_refused_or_the_same(comm in hostile(15), cut in 0..300_usize) {
        let whole = line(7, &comm, b"/x", 59);
        let cut = cut.min(whole.len());
        if let Ok(record) = SeccompRecord::from_line(&whole[..cut]) {
            // Only the last value may have lost digits.
            prop_assert!(cut > whole.len() - 6, "{record:?}");
            prop_assert_eq!(record.comm.into_vec(), comm);
        }
    }

    #[test]
    fn rubbish_is_refused_without_a_crash(
        mut bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400),
            hostile(400),
            hostile(15).prop_map(|comm| line(7, &comm, b"/x", 59)),
        ],
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        if let Ok(record) = SeccompRecord::from_line(&bytes) {
            prop_assert!(record.comm.len() <= bytes.len());
        }
        let _parsed = SeccompRecord::from_message(&bytes);
        let _parsed = call_in_line(&bytes);
    }
}

#[test]
fn no_line_is_read_beyond_what_the_kernel_writes() {
    let long = vec![b'a'; 64 * 1024];
    assert_eq!(SeccompRecord::from_line(&long), Err(RecordError::TooLong));
    assert_eq!(
        SeccompRecord::from_message(&long),
        Err(RecordError::TooLong)
    );
}
