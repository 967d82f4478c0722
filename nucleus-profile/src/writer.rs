//! Traces out.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};

use nucleus_seccomp::{Completeness, Syscall};

use crate::format::{Args, FORMAT, Line, MOST_COMMAND_BYTES, Word};
use crate::{Arguments, AtomicFile, Call, FileError, Trace};

impl Trace {
    /// Writes the trace as NDJSON: one object per call, ascending by
    /// architecture and number, and the verdict as the last line.
    ///
    /// ```text
    /// {"syscall":41,"name":"socket","count":2,"arch":"x86_64","args":{"index":[0,1,2],"values":[[1,524289,0]]}}
    /// {"syscall":257,"name":"openat","count":3,"arch":"x86_64"}
    /// {"verdict":"complete","calls":5,"source":"ptrace","kernel":"6.18.0","arch":"x86_64","command":["ls","-l"],"format":1}
    /// ```
    ///
    /// A number without a name has no `name`. `args` holds the distinct
    /// combinations of the argument registers `index`; `"more":true` says that
    /// there were too many to keep. An incomplete trace has `lost`, where it is
    /// known, and `why`. Of a command longer than 64 KiB the first words are kept.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let mut out = BufWriter::new(out);
        for (syscall, call) in &self.calls {
            write_line(&mut out, &call_line(*syscall, call))?;
        }
        write_line(&mut out, &self.verdict_line())?;
        out.flush()
    }

    /// Writes the trace into `file` and puts that in its place.
    ///
    /// # Errors
    ///
    /// [`FileError::Write`] or [`FileError::Replace`].
    pub fn save(&self, mut file: AtomicFile) -> Result<(), FileError> {
        self.write(&mut file).map_err(|source| FileError::Write {
            path: file.path().to_owned(),
            source,
        })?;
        file.commit()
    }

    fn verdict_line(&self) -> Line {
        let (verdict, lost, why) = match &self.completeness {
            Completeness::Complete => ("complete", None, None),
            Completeness::Incomplete { lost, why } => ("incomplete", *lost, Some(why.clone())),
        };
        let known = |text: &String| (!text.is_empty()).then(|| text.clone());
        Line {
            verdict: Some(verdict.to_owned()),
            lost,
            why,
            calls: Some(self.total()),
            source: known(&self.origin.source),
            kernel: known(&self.origin.kernel),
            arch: self.origin.arch.map(|arch| arch.name().to_owned()),
            command: (!self.origin.command.is_empty())
                .then(|| words_that_fit(&self.origin.command)),
            format: Some(FORMAT),
            ..Line::default()
        }
    }
}

fn call_line(syscall: Syscall, call: &Call) -> Line {
    let args = match &call.arguments {
        Arguments::Unknown => None,
        Arguments::Seen(seen) => Some(Args {
            index: seen.indices().collect(),
            values: seen.rows().map(<[u64]>::to_vec).collect(),
            more: false,
        }),
        Arguments::TooMany => Some(Args {
            index: Vec::new(),
            values: Vec::new(),
            more: true,
        }),
    };
    Line {
        syscall: Some(syscall.number()),
        name: syscall.name().map(str::to_owned),
        count: Some(call.count),
        arch: Some(syscall.arch().name().to_owned()),
        args,
        ..Line::default()
    }
}

fn words_that_fit(command: &[OsString]) -> Vec<Word> {
    let mut room = MOST_COMMAND_BYTES;
    command
        .iter()
        .map_while(|word| {
            room = room.checked_sub(word.len())?;
            Some(Word::from(word.as_os_str()))
        })
        .collect()
}

fn write_line(out: &mut impl Write, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
