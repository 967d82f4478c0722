//! Pressure stall information (`Documentation/accounting/psi.rst`).

use std::time::Duration;

/// How long tasks waited for a resource.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    /// Some task waited.
    pub some: Stall,
    /// Every task that was not idle waited; kernels before 5.13 do not say for CPU.
    pub full: Option<Stall>,
}

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stall {
    /// Per cent of the last 10, 60 and 300 seconds.
    pub average: [f64; 3],
    /// Since the cgroup was made.
    pub total: Duration,
}

impl Pressure {
    /// Reads the text of `cpu.pressure`, `memory.pressure` or `io.pressure`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let line = |name| text.lines().find_map(|line| line.strip_prefix(name));
        let full = match line("full ") {
            Some(rest) => Some(Stall::parse(rest)?),
            None => None,
        };
        Some(Self {
            some: Stall::parse(line("some ")?)?,
            full,
        })
    }
}

impl Stall {
    fn parse(rest: &str) -> Option<Self> {
        let field = |key: &str| {
            rest.split(' ')
                .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        };
        let average = |key| field(key)?.parse().ok();
        Some(Self {
            average: [average("avg10")?, average("avg60")?, average("avg300")?],
            total: Duration::from_micros(field("total")?.parse().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_or_the_first_alone() {
        let some = "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\n";
        let full = "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let both = Pressure::parse(&format!("{some}{full}")).expect("valid");
        assert_eq!(both.some.average, [1.5, 0.25, 0.0]);
        assert_eq!(both.some.total, Duration::from_micros(42));
        assert_eq!(both.full.map(|s| s.total), Some(Duration::from_micros(7)));
        let old = Pressure::parse(some).expect("valid");
        assert_eq!(old.full, None);
    }

    #[test]
    fn a_line_that_lacks_a_field_is_refused() {
        for text in [
            "",
            "full avg10=0 avg60=0 avg300=0 total=7",
            "some avg10=0.00 total=1",
        ] {
            assert_eq!(Pressure::parse(text), None, "{text}");
        }
        let half = "some avg10=0 avg60=0 avg300=0 total=1\nfull avg10=x";
        assert_eq!(Pressure::parse(half), None);
    }
}
