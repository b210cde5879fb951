//! How much other programs computed during a measurement. A disturbed comparison is not a slower one but a wrong one:
//! threads that wait for each other by spinning lose far more than the time that was taken from them.

/// Processor time at one moment, in the system's ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// All cores, idle or not.
    total: u64,
    /// All cores, busy.
    busy: u64,
    /// This process and those it has waited for.
    own: u64,
}

impl Moment {
    /// Now; `None` where the system does not say (anything but Linux).
    pub fn now() -> Option<Self> {
        let system = std::fs::read_to_string("/proc/stat").ok()?;
        let process = std::fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&system, &process)
    }

    /// `/proc/stat` begins `cpu user nice system idle iowait irq softirq steal`; in `/proc/self/stat` fields 14 to 17
    /// are the user and system time of the process and of its children, the command in brackets being field 2.
    fn parse(system: &str, process: &str) -> Option<Self> {
        let numbers = |text: &str| text.split_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<u64>>>();
        let cores = numbers(system.lines().next()?.strip_prefix("cpu ")?)?;
        let total = cores.iter().take(8).sum();
        let idle: u64 = cores.get(3..5)?.iter().sum();
        let after: Vec<&str> = process.rsplit_once(") ")?.1.split_whitespace().collect();
        let own = numbers(&after.get(11..15)?.join(" "))?.iter().sum();
        Some(Self { total, busy: total - idle, own })
    }

    /// Share of all cores' time since `before` that others used, 0 to 1.
    pub fn others_since(self, before: Self) -> Option<f64> {
        let passed = |from: u64, to: u64| to.checked_sub(from).map(|ticks| ticks as f64);
        let total = passed(before.total, self.total).filter(|total| *total > 0.0)?;
        let others = passed(before.busy, self.busy)? - passed(before.own, self.own)?;
        Some((others / total).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_what_is_left_of_the_busy_time() {
        let process = |own: [u64; 4]| {
            let [a, b, c, d] = own;
            format!("7 (a (b) c) R 1 1 1 0 -1 4194304 101 0 0 0 {a} {b} {c} {d} 20 0 1 0 1604077")
        };
        let before = Moment::parse("cpu  100 0 20 400 30 1 2 3 9 9\ncpu0 1", &process([5, 1, 10, 2]));
        assert_eq!(before, Some(Moment { total: 556, busy: 126, own: 18 }));
        // 200 ticks: 50 idle, 150 busy, of which 120 are ours.
        let after = Moment::parse("cpu  230 0 40 440 40 1 2 3 9 9\ncpu0 1", &process([5, 1, 120, 12]));
        assert_eq!(after.unwrap().others_since(before.unwrap()), Some(30.0 / 200.0));
        assert_eq!(before.unwrap().others_since(before.unwrap()), None);
        assert_eq!(Moment::parse("cpu  1 2", &process([0; 4])), None);
        assert_eq!(Moment::parse("cpu  100 0 20 400 30 1 2 3", "7 (a) R 1"), None);
    }
}
