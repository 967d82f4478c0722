//! Which process ids have had a holder.

/// A process id has had a holder since the watch began, one bit each: half a
/// mebibyte for the most ids that a kernel gives (`PID_MAX_LIMIT`).
#[derive(Debug, Default)]
pub(super) struct Held(Vec<u64>);

/// `PID_MAX_LIMIT` (`include/linux/threads.h`).
const MOST: u32 = 4 * 1024 * 1024;

impl Held {
    /// Notes a holder; whether it is the first.
    pub(super) fn insert(&mut self, pid: u32) -> bool {
        if pid > MOST {
            return false;
        }
        let (word, bit) = ((pid / 64) as usize, 1_u64 << (pid % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        match self.0.get_mut(word) {
            Some(word) => {
                let first = *word & bit == 0;
                *word |= bit;
                first
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_holder_of_an_id_is_new() {
        let mut held = Held::default();
        for pid in [1, 63, 64, MOST] {
            assert!(held.insert(pid), "{pid}");
            assert!(!held.insert(pid), "{pid}");
        }
        assert!(held.insert(2));
        // No kernel gives these: nothing is known of them, and nothing kept.
        assert!(!held.insert(MOST + 1));
    }
}
