//! A program with threads that meet: for the tests that follow threads.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;

const THREADS: usize = 8;

fn main() {
    let barrier = Arc::new(Barrier::new(THREADS));
    let sum = Arc::new(Mutex::new(0_u64));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (barrier, sum) = (Arc::clone(&barrier), Arc::clone(&sum));
            thread::spawn(move || {
                barrier.wait();
                for _ in 0..1000 {
                    let mut sum = sum
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    *sum += number as u64;
                }
            })
        })
        .collect();
    for thread in threads {
        if thread.join().is_err() {
            std::process::exit(1);
        }
    }
    let sum = sum
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    eprintln!("{sum}");
}
