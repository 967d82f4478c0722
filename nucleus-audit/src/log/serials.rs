//! Which numbers of a running count have not come.

use std::collections::BTreeSet;

/// How many numbers may be awaited at once; older ones are given up.
const MAX_AWAITED: usize = 4096;

/// The audit serials seen: every record has one, the records of one event
/// share it, and two processors may deliver neighbours in either order.
#[derive(Debug, Default)]
pub(super) struct Serials {
    next: Option<u32>,
    awaited: BTreeSet<u32>,
    given_up: u64,
}

impl Serials {
    pub(super) fn saw(&mut self, serial: u32) {
        let Some(next) = self.next else {
            self.next = Some(serial.wrapping_add(1));
            return;
        };
        let ahead = serial.wrapping_sub(next).cast_signed();
        if ahead < 0 {
            self.awaited.remove(&serial);
            return;
        }
        self.next = Some(serial.wrapping_add(1));
        let skipped = ahead.unsigned_abs();
        let room = MAX_AWAITED as u64;
        if u64::from(skipped) > room {
            self.given_up += u64::from(skipped);
            return;
        }
        self.awaited
            .extend((0..skipped).map(|step| next.wrapping_add(step)));
        while self.awaited.len() > MAX_AWAITED {
            self.awaited.pop_first();
            self.given_up += 1;
        }
    }

    /// Counts from here on: what has not come until now does not matter.
    pub(super) fn begin(&mut self) {
        self.awaited.clear();
        self.given_up = 0;
    }

    /// Whether a number is missing that may still come.
    pub(super) fn awaits(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// How many have not come.
    pub(super) fn missing(&self) -> u64 {
        self.given_up + self.awaited.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(serials: &[u32], missing: u64) {
        let mut seen = Serials::default();
        for &serial in serials {
            seen.saw(serial);
        }
        assert_eq!(seen.missing(), missing, "{serials:?}");
    }

    #[test]
    fn what_has_not_come_is_counted() {
        check(&[], 0);
        check(&[5, 5, 6, 7, 7], 0);
        check(&[5, 8], 2);
        check(&[5, 8, 6], 1);
        check(&[5, 7, 6, 8], 0);
        check(&[5, 3, 6], 0);
        check(&[u32::MAX, 0, 1], 0);
        check(&[u32::MAX - 1, 1], 2);
        check(&[1, 1_000_002, 1_000_003], 1_000_000);
    }

    #[test]
    fn what_was_missing_before_the_beginning_does_not_count() {
        let mut seen = Serials::default();
        for serial in [1, 4] {
            seen.saw(serial);
        }
        seen.begin();
        assert_eq!(seen.missing(), 0);
        seen.saw(3);
        seen.saw(6);
        assert_eq!(seen.missing(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let mut seen = Serials::default();
        for step in 0..100_000_u32 {
            seen.saw(step * 2);
        }
        assert_eq!(seen.missing(), 99_999);
        assert!(seen.awaited.len() <= MAX_AWAITED);
    }
}
