//! The memory that a program's code takes.

use std::ops::Range;
use std::{ptr, slice};

use rustix::mm::Advice;

/// Lets go of the memory that holds this program's code and constants. For a
/// program that has started another and now waits for it: what it uses again is
/// mapped again, from the page cache.
///
/// Only for a program whose code is as its file has it: what has been written
/// over it since, by a debugger or by the program itself, is lost.
pub fn give_back_code() {
    Code::find().give_back();
}

/// Where the kernel has mapped what this program never writes to: its code and
/// its constants.
#[derive(Debug)]
pub(crate) struct Code(Vec<Range<usize>>);

impl Code {
    /// For the parent: allocates. Without program headers there is nothing.
    pub(crate) fn find() -> Self {
        // SAFETY: takes a number, and returns 0 for what the kernel has not
        // told (getauxval(3)).
        let [at, count] =
            [libc::AT_PHDR, libc::AT_PHNUM].map(|what| unsafe { libc::getauxval(what) });
        let (Ok(at), Ok(count)) = (usize::try_from(at), usize::try_from(count)) else {
            return Self(Vec::new());
        };
        if at == 0 {
            return Self(Vec::new());
        }
        // SAFETY: the kernel has mapped so many headers there, for good.
        let headers = unsafe {
            slice::from_raw_parts(ptr::with_exposed_provenance::<libc::Elf64_Phdr>(at), count)
        };
        Self(ranges(headers, at, rustix::param::page_size()))
    }

    /// Lets go of the memory. What is used again is mapped again, from the page
    /// cache; a process that has started and now waits needs little of it.
    ///
    /// It also takes from the process's end, which somebody waits for, what it
    /// takes to let go of each page.
    pub(crate) fn give_back(&self) {
        for range in &self.0 {
            // SAFETY: nothing has changed what is mapped there from the file,
            // which the segment's protection forbids.
            // A failure, as for locked memory, leaves it mapped.
            let _given_back = unsafe {
                rustix::mm::madvise(
                    ptr::with_exposed_provenance_mut(range.start),
                    range.len(),
                    Advice::LinuxDontNeed,
                )
            };
        }
    }
}

/// The pages of those segments that are not writable. `at` is where the headers
/// are, which the one of type `PT_PHDR` knows before relocation (elf(5)).
fn ranges(headers: &[libc::Elf64_Phdr], at: usize, page: usize) -> Vec<Range<usize>> {
    let address = |address: u64| usize::try_from(address).ok();
    let Some(itself) = headers.iter().find(|header| header.p_type == libc::PT_PHDR) else {
        return Vec::new();
    };
    let Some(moved_by) = address(itself.p_vaddr).map(|before| at.wrapping_sub(before)) else {
        return Vec::new();
    };
    let fixed = headers
        .iter()
        .filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0);
    fixed
        .filter_map(|header| {
            let start = moved_by.wrapping_add(address(header.p_vaddr)?);
            let end = start.checked_add(address(header.p_memsz)?)?;
            Some(start & !(page - 1)..end.checked_next_multiple_of(page)?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    static CONSTANT: [u8; 3] = *b"abc";

    #[test]
    fn what_is_given_back_is_code_and_constants_and_comes_again() {
        let code = Code::find();
        let has = |address: usize| code.0.iter().any(|range| range.contains(&address));
        assert!(has((&raw const CONSTANT).addr()));
        assert!(has(ranges as *const () as usize));
        assert!(!has((&raw const code).addr()));
        code.give_back();
        assert_eq!(&CONSTANT, b"abc");
    }
}
