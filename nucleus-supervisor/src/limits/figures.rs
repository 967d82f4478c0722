//! The kernel's figures of what processes use.

use std::collections::BTreeMap;

/// Memory of its own that a process can write to, in bytes: data and stacks
/// (`/proc/PID/statm`, field 6, in pages). `None` when it is gone.
pub(super) fn writable(process: u32) -> Option<u64> {
    let statm = std::fs::read(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = field(&statm, 5)?;
    pages.checked_mul(page_size())
}

/// Where the heap of a process begins (`/proc/PID/stat`, field 47).
pub(crate) fn heap_start(process: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let name_end = stat.iter().rposition(|&byte| byte == b')')?;
    field(&stat[name_end + 1..], 44)
}

/// Whether a thread waits in another call than this one, so that what it was
/// let do before is done.
pub(super) fn waits_elsewhere(thread: u32, call: u32) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{thread}/syscall")) else {
        // Gone, and what it did is in the figures of its process.
        return true;
    };
    field::<i64>(&line, 0).is_some_and(|number| number != i64::from(call))
}

/// Whether a descriptor of a thread is /dev/zero, whose shared mappings are
/// anonymous memory; true when that cannot be said.
pub(super) fn is_zero_device(thread: u32, descriptor: u32) -> bool {
    match rustix::fs::stat(format!("/proc/{thread}/fd/{descriptor}")) {
        Ok(file) => file.st_rdev == rustix::fs::makedev(1, 5),
        Err(errno) => errno != rustix::io::Errno::NOENT,
    }
}

/// Adds the shared anonymous mappings of a process, each by the number that
/// the kernel gives what is behind it.
pub(super) fn add_shared(process: u32, sizes: &mut BTreeMap<u64, u64>) {
    if let Ok(maps) = std::fs::read(format!("/proc/{process}/maps")) {
        parse_shared(&maps, sizes);
    }
}

fn parse_shared(maps: &[u8], sizes: &mut BTreeMap<u64, u64>) {
    for line in maps.split(|&byte| byte == b'\n') {
        if !line.ends_with(b" /dev/zero (deleted)") {
            continue;
        }
        let hex = |bytes| u64::from_str_radix(std::str::from_utf8(bytes).ok()?, 16).ok();
        let mut words = line.split(|&byte| byte == b' ');
        let range = words.next().unwrap_or_default();
        let mut ends = range.split(|&byte| byte == b'-').filter_map(hex);
        let (Some(start), Some(end)) = (ends.next(), ends.next()) else {
            continue;
        };
        let offset = words.nth(1).and_then(hex).unwrap_or(0);
        if let Some(inode) = field(line, 4) {
            let size: &mut u64 = sizes.entry(inode).or_default();
            *size = (*size).max(offset.saturating_add(end.saturating_sub(start)));
        }
    }
}

/// Rounded up to pages.
pub(super) fn whole_pages(bytes: u64) -> u64 {
    bytes
        .checked_next_multiple_of(page_size())
        .unwrap_or(u64::MAX)
}

/// Rounded down to pages.
pub(super) fn pages_within(bytes: u64) -> u64 {
    bytes - bytes % page_size()
}

fn page_size() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

fn field<N: std::str::FromStr>(line: &[u8], index: usize) -> Option<N> {
    let word = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .nth(index)?;
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_figures() {
        let own = std::process::id();
        assert!(writable(own).expect("statm") > 0);
        assert!(heap_start(own).expect("stat") > 0);
        assert_eq!(writable(u32::MAX), None);
        assert!(waits_elsewhere(u32::MAX, 1));
        for (path, expected) in [("/dev/zero", true), ("/dev/null", false)] {
            let file = std::fs::File::open(path).expect(path);
            let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file).cast_unsigned();
            assert_eq!(is_zero_device(own, descriptor), expected, "{path}");
        }
        assert!(!is_zero_device(own, 1 << 20));
    }

    #[test]
    fn shared_memory_counts_once() {
        let maps = b"7f0000000000-7f0000200000 rw-s 00000000 00:01 77 /dev/zero (deleted)\n\
            7f0000300000-7f0000301000 rw-p 00000000 00:00 0 \n\
            7f0000400000-7f0000500000 rw-s 00100000 00:01 77 /dev/zero (deleted)\n\
            7f0000600000-7f0000601000 r--s 00000000 00:01 78 /dev/zero (deleted)\n\
            junk /dev/zero (deleted)\n";
        let mut sizes = BTreeMap::new();
        parse_shared(maps, &mut sizes);
        parse_shared(maps, &mut sizes);
        assert_eq!(sizes, BTreeMap::from([(77, 0x20_0000), (78, 0x1000)]));
    }
}
