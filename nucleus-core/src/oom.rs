//! Who is killed first when memory runs out (proc_pid_oom_score_adj(5)).

use std::io::Write;

use rustix::fs::{CWD, Mode, OFlags};

use crate::report::{Call, Context, Fault};

/// Half of the memory that there is, in thousandths: more than init ever has,
/// where a program can be started at all.
const RAISE: i32 = 500;

/// The highest value there is.
const MOST: i32 = 1000;

/// Has this process and its children be killed before init, whose end would be
/// that of the whole sandbox, unheard. Who is a candidate for more already
/// stays one for more; without privilege a program may take back what was added
/// here, and no more than that.
pub(crate) fn die_before_init() -> Result<(), Fault> {
    let path = c"/proc/self/oom_score_adj";
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).call(Call::Open)?;
    let mut text = [0; 16];
    let length = rustix::io::read(&file, &mut text).call(Call::Read)?;
    let before = number(text.get(..length).unwrap_or_default());
    let mut text = [0; 16];
    let mut rest = text.as_mut_slice();
    // Four digits and a sign fit.
    let _fits = write!(rest, "{}", raised(before));
    let unused = rest.len();
    let written = text.get(..text.len() - unused).unwrap_or_default();
    rustix::io::pwrite(&file, written, 0)
        .map(drop)
        .call(Call::Write)
}

fn raised(before: i32) -> i32 {
    before.saturating_add(RAISE).min(MOST)
}

/// The number that a file of /proc holds, 0 for none.
fn number(text: &[u8]) -> i32 {
    std::str::from_utf8(text.trim_ascii()).map_or(0, |text| text.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_made_safer() {
        for (before, after) in [
            (0, 500),
            (-900, -400),
            (200, 700),
            (600, 1000),
            (1000, 1000),
        ] {
            assert_eq!(raised(before), after);
        }
        assert_eq!(
            [&b"-17\n"[..], b"0\n", b"", b"x"].map(number),
            [-17, 0, 0, 0]
        );
    }
}
