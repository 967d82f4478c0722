//! What was denied or is to be told of.

use std::collections::BTreeMap;

use super::Verdict;

/// Most different events that are told of one by one.
const MOST: usize = 200;

/// Counts by what happened, in words.
#[derive(Debug, Default)]
pub(super) struct Record {
    counts: BTreeMap<(Kind, String), u64>,
    more: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Audited,
    Denied,
    Late,
    Unasked,
}

impl Record {
    pub(super) fn verdict(&mut self, what: String, verdict: Verdict) {
        match verdict {
            Verdict::Allow => {}
            Verdict::Audit => self.count(Kind::Audited, what),
            Verdict::Deny(_) => self.count(Kind::Denied, what),
        }
    }

    /// There was no answer in time.
    pub(super) fn late(&mut self, what: String) {
        self.count(Kind::Late, what);
    }

    /// There was nobody to ask, or no answer that could be understood.
    pub(super) fn unasked(&mut self, what: String) {
        self.count(Kind::Unasked, what);
    }

    fn count(&mut self, kind: Kind, what: String) {
        let room = self.counts.len() < MOST;
        match self.counts.get_mut(&(kind, what.clone())) {
            Some(count) => *count += 1,
            None if room => {
                self.counts.insert((kind, what), 1);
            }
            None => self.more += 1,
        }
    }

    pub(super) fn sentences(&self) -> Vec<String> {
        let mut sentences: Vec<String> = self
            .counts
            .iter()
            .map(|((kind, what), count)| {
                let times = match count {
                    1 => String::new(),
                    count => format!(", {count} times"),
                };
                let said = match kind {
                    Kind::Audited => "to be audited",
                    Kind::Denied => "denied by the policy",
                    Kind::Late => "denied, as the policy did not answer in time",
                    Kind::Unasked => "denied, as the policy could not be asked",
                };
                format!("{said}: {what}{times}")
            })
            .collect();
        if self.more > 0 {
            sentences.push(format!("{} more events of the policy", self.more));
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_told_once_with_a_number() {
        let mut record = Record::default();
        record.verdict("a".to_owned(), Verdict::Allow);
        for _ in 0..3 {
            record.verdict("b".to_owned(), Verdict::DENY);
        }
        record.verdict("c".to_owned(), Verdict::Audit);
        let expected = ["to be audited: c", "denied by the policy: b, 3 times"];
        assert_eq!(record.sentences(), expected);
        for number in 0..MOST {
            record.late(number.to_string());
        }
        let sentences = record.sentences();
        assert_eq!(sentences.len(), MOST + 1);
        assert_eq!(sentences[MOST], "2 more events of the policy");
    }
}
