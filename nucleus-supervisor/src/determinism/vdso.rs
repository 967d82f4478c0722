//! The vDSO of a program, changed so that its clocks are shifted.
//!
//! Libraries find its functions in its symbol table: there the addresses are
//! replaced by those of code that is put behind the last segment, where the
//! kernel keeps nothing that is used (`arch/x86/entry/vdso`).

use super::time::Moment;
use crate::sys::clock_code::{self, ClockCode, WORDS};

/// What to write, and where from the beginning of the image on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// What is to change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// How far the clocks are shifted.
    pub(super) shift: Option<Moment>,
    /// Whether `getrandom` is taken away; libraries then make the call.
    pub(super) no_random: bool,
}

/// The beginning of an image, up to what its length is read from.
pub(super) const HEAD: usize = 4096;

const PAGE: u64 = 4096;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const SYMBOL: u64 = 24;

/// An ELF image of 64 bits, little-endian, loaded from its address 0 on, as
/// every vDSO is.
struct Image<'a>(&'a [u8]);

impl Image<'_> {
    fn at(&self, offset: u64, length: usize) -> Option<u64> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.0.get(start..start.checked_add(length)?)?;
        let mut value = [0; 8];
        value.get_mut(..length)?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(value))
    }

    fn segments(&self) -> Option<impl Iterator<Item = u64>> {
        self.0.starts_with(b"\x7fELF\x02\x01").then_some(())?;
        let (table, size, count) = (self.at(32, 8)?, self.at(54, 2)?, self.at(56, 2)?);
        Some((0..count).map(move |index| table + index * size))
    }

    fn segment(&self, kind: u64) -> Option<u64> {
        self.segments()?
            .find(|&segment| self.at(segment, 4) == Some(kind))
    }

    /// Where the segment that is loaded ends.
    fn end(&self) -> Option<u64> {
        let loaded = self.segment(PT_LOAD)?;
        (self.at(loaded + 16, 8)? == 0).then_some(())?;
        self.at(loaded + 40, 8)
    }

    /// A value of the dynamic section.
    fn dynamic(&self, tag: u64) -> Option<u64> {
        let start = self.at(self.segment(PT_DYNAMIC)? + 16, 8)?;
        let mut entries = (0..).map(|index| start + index * 16);
        let entry = entries.find(
            |&entry| !matches!(self.at(entry, 8), Some(other) if other != tag && other != 0),
        )?;
        (self.at(entry, 8)? == tag).then_some(())?;
        self.at(entry + 8, 8)
    }

    /// Each symbol's place in the table, with its name and address.
    fn symbols(&self) -> Option<Vec<(u64, &[u8], u64)>> {
        let (table, names) = (self.dynamic(DT_SYMTAB)?, self.dynamic(DT_STRTAB)?);
        let count = self.at(self.dynamic(DT_HASH)? + 4, 4)?;
        let mut symbols = Vec::new();
        for place in (0..count.min(1024)).map(|index| table + index * SYMBOL) {
            let start = usize::try_from(names + self.at(place, 4)?).ok()?;
            let name = self.0.get(start..)?;
            let name = name.split(|&byte| byte == 0).next()?;
            symbols.push((place, name, self.at(place + 8, 8)?));
        }
        Some(symbols)
    }
}

/// The length of an image in memory, of which the beginning is given.
pub(super) fn length(head: &[u8]) -> Option<u64> {
    Some(Image(head).end()?.next_multiple_of(PAGE))
}

/// The changes of an image, at `base` in the program; `None` where it cannot be
/// changed.
pub(super) fn patches(image: &[u8], base: u64, wish: Wish) -> Option<Vec<Patch>> {
    let elf = Image(image);
    let symbols = elf.symbols()?;
    let mut patches = Vec::new();
    if wish.no_random {
        let random = [&b"__vdso_getrandom"[..], b"getrandom"];
        for (place, ..) in symbols.iter().filter(|(_, name, _)| random.contains(name)) {
            // An undefined symbol without an address.
            patches.push(Patch {
                offset: place + 6,
                bytes: vec![0; 10],
            });
        }
    }
    let Some(shift) = wish.shift else {
        return Some(patches);
    };
    let address = |wanted: &[u8]| {
        let mut found = symbols.iter().filter(|(_, name, _)| *name == wanted);
        found.next().map(|(_, _, address)| *address)
    };
    let code = clock_code::clock_code()?;
    let words = [
        base + address(b"__vdso_clock_gettime")?,
        base + address(b"__vdso_gettimeofday")?,
        shift.seconds.cast_unsigned(),
        shift.nanoseconds.cast_unsigned(),
        (shift.nanoseconds / 1000).cast_unsigned(),
    ];
    let place = room(image, elf.end()?, code.bytes.len())?;
    for (symbol, name, _) in symbols {
        let Some(function) = replacement(&code, name) else {
            continue;
        };
        let address = place + u64::try_from(function).ok()?;
        patches.push(Patch {
            offset: symbol + 8,
            bytes: address.to_le_bytes().to_vec(),
        });
    }
    let mut bytes = code.bytes;
    let head = bytes.first_chunk_mut::<{ WORDS * 8 }>()?;
    for (word, value) in head.chunks_exact_mut(8).zip(words) {
        word.copy_from_slice(&value.to_le_bytes());
    }
    patches.push(Patch {
        offset: place,
        bytes,
    });
    Some(patches)
}

fn replacement(code: &ClockCode, name: &[u8]) -> Option<usize> {
    match name.strip_prefix(b"__vdso_").unwrap_or(name) {
        b"clock_gettime" => Some(code.clock_gettime),
        b"gettimeofday" => Some(code.gettimeofday),
        b"time" => Some(code.time),
        _ => None,
    }
}

/// Zeros at the end of the last page, behind what is loaded.
fn room(image: &[u8], end: u64, length: usize) -> Option<u64> {
    let place = image.len().checked_sub(length)? & !15;
    let free = u64::try_from(place).ok()? >= end;
    let zeros = image.get(place..)?.iter().all(|&byte| byte == 0);
    (free && zeros).then(|| u64::try_from(place).ok())?
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The symbols of an image with an address.
    fn addresses(image: &[u8]) -> BTreeMap<Vec<u8>, u64> {
        let elf = Image(image);
        let symbols = elf.symbols().expect("a symbol table");
        let defined = symbols.into_iter().filter(|(_, _, address)| *address != 0);
        defined
            .map(|(_, name, address)| (name.to_vec(), address))
            .collect()
    }

    /// The vDSO of this machine, as a program would have it, with the room
    /// behind it that not every kernel leaves.
    fn changed(wish: Wish) -> (Vec<u8>, Vec<u8>) {
        let image = crate::determinism::image::Program::open(std::process::id())
            .and_then(|program| program.vdso())
            .expect("a vDSO that can be read");
        let mut before = image.bytes;
        before.resize(before.len() + 4096, 0);
        let mut after = before.clone();
        for patch in patches(&before, image.base, wish).expect("room") {
            let start = usize::try_from(patch.offset).expect("an offset");
            after[start..start + patch.bytes.len()].copy_from_slice(&patch.bytes);
        }
        (before, after)
    }

    #[test]
    fn the_clocks_lead_to_the_new_code_and_nothing_else_does() {
        let (before, after) = changed(Wish {
            shift: Some(Moment::new(5, 6000)),
            no_random: false,
        });
        let (before, after) = (addresses(&before), addresses(&after));
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            after.keys().collect::<Vec<_>>()
        );
        for (name, address) in &before {
            let shifted = [&b"clock_gettime"[..], b"gettimeofday", b"time"];
            let plain = name.strip_prefix(b"__vdso_").unwrap_or(name);
            let same = after[name] == *address;
            assert_eq!(same, !shifted.contains(&plain), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn getrandom_is_not_there() {
        let (_, after) = changed(Wish {
            shift: None,
            no_random: true,
        });
        let after = addresses(&after);
        assert!(!after.contains_key(&b"__vdso_getrandom"[..]));
        assert!(after.contains_key(&b"__vdso_clock_gettime"[..]));
    }

    #[test]
    fn an_image_that_is_none_is_left_alone() {
        let wish = Wish {
            shift: Some(Moment::default()),
            no_random: true,
        };
        for image in [&[][..], b"\x7fELF\x02\x01", &[0xff; 8192]] {
            assert_eq!(patches(image, 0, wish), None);
            assert_eq!(length(image), None);
        }
        let (before, _) = changed(wish);
        for cut in 0..before.len() {
            // No panic, whatever is missing.
            let _patches = patches(&before[..cut], 0, wish);
        }
    }
}
