//! Trace files: what is written is read back, and what anybody may have
//! written instead is refused with a reason.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::io::{BufReader, Read};
use std::os::unix::ffi::OsStringExt;

use nucleus_profile::{Arguments, Error, Origin, Recorder, Trace};
use nucleus_seccomp::{Arch, Completeness, SeccompData, Syscall};
use proptest::prelude::*;

fn data(arch: Arch, nr: u32, args: [u64; 6]) -> SeccompData {
    SeccompData {
        nr,
        arch: arch.audit(),
        instruction_pointer: 0,
        args,
    }
}

fn written(trace: &Trace) -> String {
    let mut bytes = Vec::new();
    trace.write(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn sample() -> Trace {
    let mut recorder = Recorder::new();
    for _ in 0..3 {
        recorder.record(&data(Arch::X86_64, 257, [0; 6]));
    }
    recorder.record(&data(Arch::X86_64, 41, [1, 0x8_0001, 0, 0, 0, 0]));
    recorder.record(&data(Arch::I386, 5, [0; 6]));
    recorder.record(&data(Arch::X86_64, 500, [0; 6]));
    let origin = Origin {
        source: "ptrace".into(),
        kernel: "6.18.0".into(),
        arch: Some(Arch::X86_64),
        command: vec!["ls".into(), OsString::from_vec(vec![b'/', 0xff])],
    };
    recorder.finish(origin, Completeness::Complete)
}

#[test]
fn the_format_is_stable() {
    assert_eq!(
        written(&sample()),
        concat!(
            r#"{"syscall":41,"name":"socket","count":1,"arch":"x86_64","args":{"index":[0,1,2],"values":[[1,524289,0]]}}"#,
            "\n",
            r#"{"syscall":257,"name":"openat","count":3,"arch":"x86_64"}"#,
            "\n",
            r#"{"syscall":500,"count":1,"arch":"x86_64"}"#,
            "\n",
            r#"{"syscall":5,"name":"open","count":1,"arch":"i386"}"#,
            "\n",
            r#"{"verdict":"complete","calls":6,"source":"ptrace","kernel":"6.18.0","arch":"x86_64","command":["ls",[47,255]],"format":1}"#,
            "\n",
        )
    );
}

#[test]
fn what_is_written_is_read_back() {
    let trace = sample();
    assert_eq!(Trace::read(written(&trace).as_bytes()).unwrap(), trace);
}

#[test]
fn a_huge_command_is_shortened() {
    let mut origin = sample().origin().clone();
    origin.command = vec!["x".repeat(1000).into(); 2000];
    let trace = Recorder::new().finish(origin, Completeness::Complete);
    let text = written(&trace);
    assert!(text.len() < 100_000);
    let read = Trace::read(text.as_bytes()).unwrap();
    assert_eq!(read.origin().command.len(), 65);
}

#[test]
fn the_old_format_is_incomplete() {
    let text = "{\"syscall\":1,\"name\":\"write\",\"count\":3}\r\n\n{\"count\":1,\"syscall\":0,\"new\":{}}";
    let trace = Trace::read(text.as_bytes()).unwrap();
    assert_eq!(trace.total(), 4);
    let Completeness::Incomplete { lost: None, why } = trace.completeness() else {
        panic!("{trace:?}");
    };
    assert!(why[0].contains("no verdict"), "{why:?}");
}

/// A trace cut at any byte: an error, or incomplete; never complete.
#[test]
fn a_cut_trace_is_never_complete() {
    let text = written(&sample());
    for end in 0..text.len() - 1 {
        match Trace::read(&text.as_bytes()[..end]) {
            Ok(trace) => {
                assert!(!trace.completeness().is_complete(), "cut at {end}");
                assert!(
                    text.as_bytes()[..=end].ends_with(b"\n")
                        || text.as_bytes()[..end].ends_with(b"\n"),
                    "cut at {end}"
                );
            }
            Err(Error::Empty) => assert_eq!(end, 0),
            Err(Error::Cut { line }) => {
                let lines = text.as_bytes()[..end]
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count();
                assert_eq!(line, lines as u64 + 1, "cut at {end}");
            }
            Err(error) => panic!("cut at {end}: {error}"),
        }
    }
}

#[test]
fn bad_input_is_refused_by_line() {
    fn check(text: impl AsRef<[u8]>, expected: &str) {
        let error = Trace::read(text.as_ref()).unwrap_err();
        let mut message = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            message = format!("{message}: {source}");
        }
        assert!(message.contains(expected), "{message}");
    }
    const CALL: &str = "{\"syscall\":1,\"name\":\"write\",\"count\":3,\"arch\":\"x86_64\"}\n";
    const VERDICT: &str = "{\"verdict\":\"complete\",\"calls\":3}\n";

    check("", "the trace is empty");
    check("\n \n", "the trace is empty");
    check("hello\n", "line 1 is not a line of a trace");
    check("[1,2]\n", "line 1 is not a line of a trace");
    check(format!("{CALL}{{\"syscall\":"), "line 2 ends in its middle");
    check(
        format!("{CALL}{{\"syscall\":\n"),
        "line 2 is not a line of a trace",
    );
    check(b"\n\xff\xfe\n", "line 2 is not UTF-8 from byte 0 on");
    check("{}\n", "line 1 has no field \"syscall\"");
    check("{\"syscall\":1}\n", "line 1 has no field \"count\"");
    check(
        "{\"syscall\":-1,\"count\":1}\n",
        "invalid value: integer `-1`",
    );
    check(
        "{\"syscall\":1,\"count\":-1}\n",
        "invalid value: integer `-1`",
    );
    check(
        "{\"syscall\":1,\"count\":1.5}\n",
        "invalid type: floating point",
    );
    check("{\"syscall\":1,\"count\":99999999999999999999}\n", "line 1");
    check(
        "{\"syscall\":1,\"count\":1,\"count\":2}\n",
        "duplicate field `count`",
    );
    check("{\"syscall\":1,\"count\":0}\n", "line 1 has a count of 0");
    check(
        "{\"syscall\":1,\"name\":\"exit\",\"count\":1,\"arch\":\"x86_64\"}\n",
        "on x86_64 it is write: the trace is from another architecture",
    );
    check(
        "{\"syscall\":1,\"count\":1,\"arch\":\"vax\"}\n",
        "line 1 cannot be understood: unknown architecture \"vax\"",
    );
    check(
        "{\"syscall\":1,\"count\":1,\"arch\":\"x32\"}\n",
        "line 1 has number 0x1, which is not one of x32",
    );
    check(
        format!("{CALL}{CALL}"),
        "line 2 counts write (x86_64) again",
    );
    check(
        "{\"syscall\":1,\"count\":18446744073709551615}\n{\"syscall\":2,\"count\":1}\n",
        "more than 64 bits",
    );
    check(
        format!("{CALL}{VERDICT}{CALL}"),
        "line 3 follows the verdict",
    );
    check(VERDICT, "the trace holds 0 calls, its verdict says 3");
    check(
        format!("{CALL}{{\"verdict\":\"fine\",\"calls\":3}}\n"),
        "line 2 has the verdict \"fine\"",
    );
    check(
        format!("{CALL}{{\"verdict\":\"complete\"}}\n"),
        "line 2 has no field \"calls\"",
    );
    check(
        format!("{CALL}{{\"verdict\":\"incomplete\",\"calls\":3,\"why\":[]}}\n"),
        "line 2 has no field \"why\"",
    );
    check(
        format!("{CALL}{{\"verdict\":\"complete\",\"calls\":3,\"format\":2}}\n"),
        "the trace is of format 2, this nucleus knows 1",
    );
    for args in [
        r#"{"index":[0],"values":[[1]]}"#,
        r#"{"index":[0,1,2],"values":[]}"#,
        r#"{"index":[0,1,2],"values":[[1,2]]}"#,
        r#"{"index":[0,1,2],"values":[[1,2,3,4,5,6,7]]}"#,
        r#"{"index":[0,1,2],"values":[[4294967296,1,0]]}"#,
    ] {
        check(
            format!("{{\"syscall\":41,\"count\":1,\"arch\":\"x86_64\",\"args\":{args}}}\n"),
            "line 1 has arguments that do not belong to socket",
        );
    }
    check(
        r#"{"syscall":0,"count":1,"arch":"x86_64","args":{"index":[0],"values":[[1]]}}"#,
        "line 1 has arguments that do not belong to read",
    );
}

#[test]
fn an_endless_line_is_refused_early() {
    let endless = BufReader::new(std::io::repeat(b'{'));
    assert!(matches!(
        Trace::read(endless),
        Err(Error::LineTooLong { line: 1, .. })
    ));
}

#[test]
fn deep_nesting_is_refused() {
    let deep = "[".repeat(100_000);
    assert!(matches!(
        Trace::read(deep.as_bytes()),
        Err(Error::NotALine { line: 1, .. } | Error::Cut { line: 1 })
    ));
}

#[test]
fn endless_different_calls_are_refused() {
    let mut text = String::new();
    for nr in 0..10_000 {
        text += &format!("{{\"syscall\":{nr},\"count\":1,\"arch\":\"i386\"}}\n");
    }
    assert!(matches!(
        Trace::read(text.as_bytes()),
        Err(Error::TooManyCalls { line: 8193, .. })
    ));
}

/// A reader that gives one byte at a time and fails at the end.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let (first, rest) = self
            .0
            .split_first()
            .ok_or_else(|| std::io::Error::other("the disk is gone"))?;
        self.0 = rest;
        buffer[0] = *first;
        Ok(1)
    }
}

#[test]
fn a_read_error_names_the_line() {
    let input = BufReader::new(Failing(b"{\"syscall\":1,\"count\":1}\n{"));
    assert!(matches!(
        Trace::read(input),
        Err(Error::Read { line: 2, .. })
    ));
}

#[test]
fn merging_adds_up() {
    let mut left = sample();
    let mut recorder = Recorder::new();
    recorder.record(&data(Arch::X86_64, 41, [16, 3, 0, 0, 0, 0]));
    recorder.record(&data(Arch::X86_64, 0, [0; 6]));
    let right = recorder.finish(
        Origin::default(),
        Completeness::Incomplete {
            lost: Some(7),
            why: vec!["first".into(), "second".into()],
        },
    );
    left.merge(&right).unwrap();
    assert_eq!(left.total(), 8);
    let Arguments::Seen(seen) = &left.calls()[&Syscall::new(Arch::X86_64, 41)].arguments else {
        panic!("{left:?}");
    };
    assert_eq!(
        seen.rows().collect::<Vec<_>>(),
        [&[1, 0x8_0001, 0], &[16, 3, 0]]
    );
    assert_eq!(
        *left.completeness(),
        Completeness::Incomplete {
            lost: Some(7),
            why: vec!["first".into(), "second".into()],
        }
    );
    let only: Vec<_> = left
        .only_here(&sample())
        .map(|(call, _)| call.number())
        .collect();
    assert_eq!(only, [0]);
}

#[test]
fn merging_does_not_overflow() {
    let text = format!("{{\"syscall\":1,\"count\":{}}}\n", u64::MAX);
    let mut left = Trace::read(text.as_bytes()).unwrap();
    let before = left.clone();
    assert!(matches!(left.merge(&sample()), Err(Error::CountOverflow)));
    assert_eq!(left, before);
}

proptest! {
    #[test]
    fn any_recording_is_read_back(
        calls in prop::collection::vec((0_usize..5, 0_u32..600, any::<[u64; 6]>()), 0..200),
        lost in any::<Option<u64>>(),
        command in prop::collection::vec(any::<Vec<u8>>(), 0..4),
    ) {
        let mut recorder = Recorder::new();
        for (arch, nr, args) in calls {
            let arch = Arch::ALL[arch];
            let bit = if arch == Arch::X32 { 0x4000_0000 } else { 0 };
            recorder.record(&data(arch, nr | bit, args));
        }
        let origin = Origin {
            command: command.into_iter().map(OsString::from_vec).collect(),
            ..Origin::default()
        };
        let why = vec!["a reason\n\"".to_owned()];
        let trace = recorder.finish(origin, Completeness::Incomplete { lost, why });
        let mut bytes = Vec::new();
        trace.write(&mut bytes).unwrap();
        prop_assert_eq!(Trace::read(&bytes[..]).unwrap(), trace);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        drop(Trace::read(&bytes[..]));
    }

    /// A trace with one byte changed, which gets further than noise does.
    #[test]
    fn any_change_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = written(&sample()).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(trace) = Trace::read(&bytes[..]) {
            let mut again = Vec::new();
            trace.write(&mut again).unwrap();
            let reread = Trace::read(&again[..]).unwrap();
            prop_assert_eq!(reread.calls(), trace.calls());
        }
    }
}
