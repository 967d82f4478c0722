//! Where in which program a call was made.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::read::ReadCache;
use object::{Object, ObjectSegment, ObjectSymbol, ObjectSymbolTable, SymbolKind};
use rustix::fs::{Mode, OFlags};

use crate::proc::{self, Status};

/// A place in a program's code, in a form that `addr2line` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file that is mapped there, as the process sees it.
    pub file: PathBuf,
    /// The address in the file's own numbering.
    pub address: u64,
    /// The function around it and how far into it, where the file says.
    pub function: Option<(String, u64)>,
}

impl fmt::Display for Place {
    /// `libc.so.6+0x9f2b7 (__socket+0x7)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.file.file_name().unwrap_or(self.file.as_os_str());
        write!(f, "{}+{:#x}", Path::new(name).display(), self.address)?;
        match &self.function {
            Some((function, into)) => write!(f, " ({function}+{into:#x})"),
            None => Ok(()),
        }
    }
}

impl Place {
    /// Where `address` is in the process `pid`, which must stand still:
    /// `None` outside of any file.
    #[must_use]
    pub fn of(pid: u32, address: u64) -> Option<Self> {
        let maps = proc::maps(pid)?;
        let mapping = Mapping::around(&maps, address)?;
        let offset = address - mapping.start + mapping.offset;
        let (address, function) = mapping
            .open(pid)
            .and_then(|file| look_up(file, offset))
            .unwrap_or((offset, None));
        Some(Self {
            file: mapping.path,
            address,
            function,
        })
    }
}

/// The program's file of a process, of its parent, and so on: up to this
/// process, which is left out, or to the first that cannot be read.
#[must_use]
pub fn lineage(pid: u32) -> Vec<PathBuf> {
    let own = std::process::id();
    let mut files = Vec::new();
    let mut next = Some(pid);
    while let Some(pid) = next.filter(|&pid| pid != own && files.len() < MOST_ANCESTORS) {
        let Some(file) = proc::exe(pid) else { break };
        files.push(file);
        next = Status::of(pid).and_then(|status| status.parent);
    }
    files
}

/// More ancestors than anybody reads.
const MOST_ANCESTORS: usize = 64;

/// A line of `/proc/PID/maps` that is about a file.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: u64,
    offset: u64,
    inode: u64,
    path: PathBuf,
}

impl Mapping {
    /// The mapping that holds an address.
    fn around(maps: &[u8], address: u64) -> Option<Self> {
        maps.split(|&byte| byte == b'\n')
            .find_map(|line| Self::parse(line, address))
    }

    /// `start-end perms offset dev inode path`, numbers but the inode in
    /// hexadecimal (`proc_pid_maps(5)`).
    fn parse(line: &[u8], address: u64) -> Option<Self> {
        let mut fields = line.splitn(6, |&byte| byte == b' ');
        let range = str::from_utf8(fields.next()?).ok()?;
        let (start, end) = range.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        if !(start..end).contains(&address) {
            return None;
        }
        let offset = str::from_utf8(fields.nth(1)?).ok()?;
        let inode = str::from_utf8(fields.nth(1)?).ok()?;
        let path = proc::path(fields.next()?.trim_ascii_start().to_vec());
        path.is_absolute().then_some(())?;
        Some(Self {
            start,
            offset: u64::from_str_radix(offset, 16).ok()?,
            inode: inode.parse().ok()?,
            path,
        })
    }

    /// The file that is mapped, or nothing: what has its name by now may be
    /// something else, such as a pipe that would block.
    fn open(&self, pid: u32) -> Option<File> {
        let inside = self.path.strip_prefix("/").ok()?;
        let path = Path::new("/proc")
            .join(pid.to_string())
            .join("root")
            .join(inside);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
        let metadata = file.metadata().ok()?;
        (metadata.is_file() && metadata.ino() == self.inode).then_some(file)
    }
}

/// The address of a file offset, and the function around it.
fn look_up(file: File, offset: u64) -> Option<(u64, Option<(String, u64)>)> {
    let cache = ReadCache::new(file);
    let binary = object::File::parse(&cache).ok()?;
    let segment = binary.segments().find(|segment| {
        let (start, length) = segment.file_range();
        offset
            .checked_sub(start)
            .is_some_and(|within| within < length)
    })?;
    let address = segment
        .address()
        .checked_add(offset - segment.file_range().0)?;
    let tables = [binary.symbol_table(), binary.dynamic_symbol_table()];
    let function = tables
        .into_iter()
        .flatten()
        .flat_map(|table| table.symbols())
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
        .filter_map(|symbol| {
            let into = address.checked_sub(symbol.address())?;
            (into < symbol.size()).then(|| Some((symbol.name().ok()?.to_owned(), into)))?
        })
        .next();
    Some((address, function))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_around_an_address_is_found() {
        let maps = b"\
            55d0c0000000-55d0c0002000 r--p 00000000 fd:00 1234                       /usr/bin/a b\n\
            55d0c0002000-55d0c0006000 r-xp 00002000 fd:00 1234                       /usr/bin/a b\n\
            7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]\n\
            7ffd10000000-7ffd10001000 rw-p 00000000 00:00 0 \n";
        let found = Mapping::around(maps, 0x55d0_c000_2345).unwrap();
        let expected = Mapping {
            start: 0x55d0_c000_2000,
            offset: 0x2000,
            inode: 1234,
            path: "/usr/bin/a b".into(),
        };
        assert_eq!(found, expected);
        for elsewhere in [0x55d0_c000_6000, 0x7ffd_0000_0000, 0x7ffd_1000_0000] {
            assert_eq!(Mapping::around(maps, elsewhere), None);
        }
    }

    #[test]
    fn an_own_function_is_found_by_name() {
        let address = u64::try_from(Place::of as *const () as usize).unwrap();
        let place = Place::of(std::process::id(), address).unwrap();
        assert_eq!(place.file, std::env::current_exe().unwrap());
        let (function, into) = place.function.unwrap();
        assert!(function.contains("Place"), "{function}");
        assert_eq!(into, 0);
    }
}
