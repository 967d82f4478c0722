//! However hostile a line is, the parser takes no more memory than the line has.
//!
//! `NUCLEUS_TEST_BYTES` sets how many bytes of lines are tried.
#![allow(unsafe_code, reason = "it is an allocator")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::{fs, hint};

use nucleus_audit::{SeccompRecord, call_in_line};

/// Counts what this thread has allocated at once, and the most of it.
struct Counting;

thread_local! {
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    // After the end of a thread's own data nothing is measured any more.
    let _gone = HELD.try_with(|held| {
        let now = held.get().0 + bytes;
        held.set((now, held.get().1.max(now)));
    });
}

// SAFETY: every request is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promises are the system allocator's conditions.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above; the pointer came from it.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `run` held at once.
fn peak(run: impl FnOnce()) -> usize {
    HELD.set((0, 0));
    run();
    HELD.get().1.unsigned_abs()
}

/// Xorshift: the same numbers on every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}

/// A real line with some changes, or bytes of no meaning.
fn line(numbers: &mut Numbers, real: &[Vec<u8>], line: &mut Vec<u8>) {
    line.clear();
    if numbers.below(8) == 0 {
        let length = numbers.below(2000);
        line.extend((0..length).map(|_| numbers.byte()));
        return;
    }
    line.extend_from_slice(&real[numbers.below(real.len())]);
    for _ in 0..numbers.below(6) {
        let (at, end) = (numbers.below(line.len()), numbers.below(line.len()));
        match numbers.below(5) {
            0 if !line.is_empty() => line[at] = numbers.byte(),
            1 => line.truncate(at),
            2 => line.insert(at, b' '),
            3 if at < end => drop(line.drain(at..end)),
            _ => {
                let other = &real[numbers.below(real.len())];
                let from = numbers.below(other.len());
                line.splice(at..at, other[from..].iter().copied());
            }
        }
    }
}

#[test]
fn a_line_takes_no_more_memory_than_it_has() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let real: Vec<Vec<u8>> = ["records.txt", "retold.txt"]
        .iter()
        .flat_map(|name| {
            let file = fs::read(data.join(name)).unwrap();
            let lines = file.split(|&byte| byte == b'\n').map(<[u8]>::to_vec);
            lines.collect::<Vec<_>>()
        })
        .collect();
    let wanted = std::env::var("NUCLEUS_TEST_BYTES");
    let wanted: u64 = wanted.map_or(8 << 20, |bytes| bytes.parse().unwrap());
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut bytes, mut records, mut lines) = (0, 0_u64, 0_u64);
    let mut text = Vec::new();
    // The table of names is made once.
    for line in &real {
        let _call = hint::black_box(call_in_line(line));
    }
    while bytes < wanted {
        line(&mut numbers, &real, &mut text);
        bytes += text.len() as u64 + 1;
        lines += 1;
        let took = peak(|| {
            records += u64::from(SeccompRecord::from_line(&text).is_ok());
            let _message = hint::black_box(SeccompRecord::from_message(&text));
        });
        assert!(took <= text.len(), "{took} bytes for {text:?}");
        // The names of fields that are looked for.
        let took = peak(|| {
            let _call = hint::black_box(call_in_line(&text));
        });
        assert!(took <= text.len() + 64, "{took} bytes for {text:?}");
    }
    assert!(records > lines / 20, "{records} records in {lines} lines");
    println!("{bytes} bytes, {lines} lines, {records} records");
}
