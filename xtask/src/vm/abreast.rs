//! Several machines at a time: each keeps about one processor busy.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many machines of so many mebibytes the host can run side by side: one
/// for each processor, and with as much memory again to spare.
pub(crate) fn machines(memory: u32) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let list = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    fit(processors, available(&list), memory)
}

fn fit(processors: usize, available: u64, memory: u32) -> usize {
    let room = available / (2 * u64::from(memory));
    usize::try_from(room).map_or(processors, |room| processors.min(room).max(1))
}

/// `MemAvailable` of `/proc/meminfo`, in mebibytes.
fn available(list: &str) -> u64 {
    let line = list
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() / 1024
}

/// Does the `work` for all items, so many at a time and begun in order, until
/// one fails. What came of each that was begun, in order.
pub(crate) fn map<T: Sync, R: Send, E: Send>(
    items: &[T],
    at_a_time: usize,
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Vec<Result<R, E>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let run = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return;
            };
            let result = work(item);
            if result.is_err() {
                next.store(items.len(), Ordering::Relaxed);
            }
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(run);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_machines_as_fit() {
        let list = "MemTotal: 9 kB\nMemAvailable:    8388608 kB\n";
        assert_eq!(available(list), 8192);
        assert_eq!(available(""), 0);
        for (processors, available, expected) in
            [(2, 8192, 2), (8, 8192, 4), (2, 2000, 1), (1, 8192, 1)]
        {
            assert_eq!(fit(processors, available, 1024), expected);
        }
    }

    #[test]
    fn all_is_done_once_and_given_back_in_order() {
        let items: Vec<u32> = (0..100).collect();
        for at_a_time in [1, 3] {
            let done = map(&items, at_a_time, |item| Ok::<_, ()>(item * 2));
            let expected: Vec<_> = items.iter().map(|item| Ok(item * 2)).collect();
            assert_eq!(done, expected);
        }
    }

    #[test]
    fn nothing_is_begun_after_a_failure() {
        let done = map(&[1, 2, 3], 1, |item| {
            if *item == 2 { Err("two") } else { Ok(*item) }
        });
        assert_eq!(done, [Ok(1), Err("two")]);
    }
}
