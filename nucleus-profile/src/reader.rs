//! Traces in: from files that anybody may have written.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::io::{BufRead, Read};

use nucleus_seccomp::{Arch, Completeness, Syscall, X32_SYSCALL_BIT};

use crate::arguments::{self, MOST_ARGUMENTS};
use crate::format::{Args, FORMAT, Line, MOST_LINE_BYTES};
use crate::{Arguments, Call, Combinations, Error, Origin, Trace};

/// More different calls than all architectures together have, with those that
/// a recorder takes beyond the tables.
const MOST_CALLS: usize = 8192;

impl Trace {
    /// Reads a trace, line by line: the memory it takes depends on the number
    /// of different calls only, which is bounded.
    ///
    /// Traces of the format before this one are understood: lines without
    /// `arch` are of the architecture that this was compiled for, and a trace
    /// without a verdict is incomplete. Unknown fields are left alone.
    ///
    /// # Errors
    ///
    /// [`Error`] with the number of the line that is not what [`Trace::write`]
    /// writes.
    pub fn read(mut input: impl BufRead) -> Result<Self, Error> {
        let mut reader = Reader::default();
        let mut bytes = Vec::new();
        while let Some(whole) = reader.next_line(&mut input, &mut bytes)? {
            if !bytes.trim_ascii().is_empty() {
                reader.take(&bytes, whole)?;
            }
        }
        reader.finish()
    }
}

#[derive(Debug, Default)]
struct Reader {
    line: u64,
    calls: BTreeMap<Syscall, Call>,
    total: u64,
    verdict: Option<(Origin, Completeness)>,
}

impl Reader {
    /// Reads the next line into `bytes`: whether it has its end, or `None`
    /// after the last.
    fn next_line(
        &mut self,
        input: &mut impl BufRead,
        bytes: &mut Vec<u8>,
    ) -> Result<Option<bool>, Error> {
        self.line += 1;
        bytes.clear();
        let limit = MOST_LINE_BYTES as u64 + 1;
        input
            .by_ref()
            .take(limit)
            .read_until(b'\n', bytes)
            .map_err(|source| Error::Read {
                line: self.line,
                source,
            })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let whole = bytes.pop_if(|last| *last == b'\n').is_some();
        if bytes.len() > MOST_LINE_BYTES {
            return Err(Error::LineTooLong {
                line: self.line,
                limit: MOST_LINE_BYTES,
            });
        }
        Ok(Some(whole))
    }

    fn take(&mut self, bytes: &[u8], whole: bool) -> Result<(), Error> {
        let line = self.line;
        if self.verdict.is_some() {
            return Err(Error::AfterVerdict { line });
        }
        let text = std::str::from_utf8(bytes).map_err(|error| Error::NotUtf8 {
            line,
            valid_up_to: error.valid_up_to(),
        })?;
        let parsed: Line = serde_json::from_str(text).map_err(|source| {
            if source.is_eof() && !whole {
                Error::Cut { line }
            } else {
                Error::NotALine { line, source }
            }
        })?;
        if parsed.verdict.is_some() {
            self.take_verdict(parsed)
        } else {
            self.take_call(parsed)
        }
    }

    fn take_call(&mut self, parsed: Line) -> Result<(), Error> {
        let line = self.line;
        let missing = |field| Error::MissingField { line, field };
        let number = parsed.syscall.ok_or_else(|| missing("syscall"))?;
        let count = parsed.count.ok_or_else(|| missing("count"))?;
        let arch = match parsed.arch {
            Some(name) => self.arch(&name)?,
            None => Arch::native().ok_or_else(|| missing("arch"))?,
        };
        if Arch::of(arch.audit(), number) != Some(arch) {
            return Err(Error::WrongNumber { line, number, arch });
        }
        let syscall = Syscall::new(arch, number);
        if let Some(said) = parsed.name
            && !self::same_name(syscall, &said)
        {
            return Err(Error::NameMismatch {
                line,
                number: number & !X32_SYSCALL_BIT,
                said,
                known: syscall,
                arch,
            });
        }
        if count == 0 {
            return Err(Error::ZeroCount { line });
        }
        let arguments = match parsed.args {
            Some(args) => {
                combinations(syscall, &args).ok_or(Error::WrongArguments { line, syscall })?
            }
            None => Arguments::Unknown,
        };
        self.total = self.total.checked_add(count).ok_or(Error::CountOverflow)?;
        let room = self.calls.len() < MOST_CALLS;
        match self.calls.entry(syscall) {
            Entry::Occupied(_) => Err(Error::Repeated { line, syscall }),
            Entry::Vacant(_) if !room => Err(Error::TooManyCalls {
                line,
                limit: MOST_CALLS + 1,
            }),
            Entry::Vacant(place) => {
                place.insert(Call { count, arguments });
                Ok(())
            }
        }
    }

    fn take_verdict(&mut self, parsed: Line) -> Result<(), Error> {
        let line = self.line;
        if let Some(found) = parsed.format.filter(|format| *format > FORMAT) {
            return Err(Error::Format {
                found,
                known: FORMAT,
            });
        }
        let completeness = match parsed.verdict.as_deref() {
            Some("complete") => Completeness::Complete,
            Some("incomplete") => Completeness::Incomplete {
                lost: parsed.lost,
                why: parsed
                    .why
                    .filter(|why| !why.is_empty())
                    .ok_or(Error::MissingField { line, field: "why" })?,
            },
            other => {
                return Err(Error::UnknownVerdict {
                    line,
                    verdict: other.unwrap_or_default().to_owned(),
                });
            }
        };
        let said = parsed.calls.ok_or(Error::MissingField {
            line,
            field: "calls",
        })?;
        if said != self.total {
            return Err(Error::Miscounted {
                found: self.total,
                said,
            });
        }
        let origin = Origin {
            source: parsed.source.unwrap_or_default(),
            kernel: parsed.kernel.unwrap_or_default(),
            arch: parsed.arch.map(|name| self.arch(&name)).transpose()?,
            command: parsed
                .command
                .unwrap_or_default()
                .into_iter()
                .map(OsString::from)
                .collect(),
        };
        self.verdict = Some((origin, completeness));
        Ok(())
    }

    fn arch(&self, name: &str) -> Result<Arch, Error> {
        name.parse().map_err(|source| Error::UnknownArch {
            line: self.line,
            source,
        })
    }

    fn finish(self) -> Result<Trace, Error> {
        if self.calls.is_empty() && self.verdict.is_none() {
            return Err(Error::Empty);
        }
        let (origin, completeness) = self.verdict.unwrap_or_else(|| {
            let mut completeness = Completeness::Complete;
            completeness.lose(
                None,
                "it has no verdict as its last line, so it was cut or recorded by another tool",
            );
            (Origin::default(), completeness)
        });
        Ok(Trace {
            calls: self.calls,
            origin,
            completeness,
        })
    }
}

/// Whether `said` may be the name of the call. A number without a name here may
/// have one in the tables of another version.
fn same_name(syscall: Syscall, said: &str) -> bool {
    syscall.name().is_none_or(|known| known == said)
}

/// The combinations, if they are such as a recorder keeps of this call.
fn combinations(syscall: Syscall, args: &Args) -> Option<Arguments> {
    if args.more {
        return Some(Arguments::TooMany);
    }
    let selection = syscall.name().map_or(&[][..], arguments::selection);
    let indices = selection.iter().map(|argument| argument.index.get());
    if selection.is_empty() || !indices.eq(args.index.iter().copied()) {
        return None;
    }
    let mut rows = args.values.iter().map(|values| {
        let mut row = [0; MOST_ARGUMENTS];
        let fits = values.len() == selection.len()
            && values
                .iter()
                .zip(selection)
                .all(|(value, argument)| value & argument.width.mask() == *value);
        row.get_mut(..values.len())
            .filter(|_| fits)?
            .copy_from_slice(values);
        Some(row)
    });
    let mut seen = Combinations::first(selection, rows.next()??);
    for row in rows {
        if !seen.add(row?) {
            return Some(Arguments::TooMany);
        }
    }
    seen.sort();
    Some(Arguments::Seen(seen))
}
