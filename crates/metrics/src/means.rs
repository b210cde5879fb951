//! Means of named values, such as the loss terms of an epoch.

/// Weighted means by name, in the order in which the names first came.
///
/// Sums are `f64` with Neumaier's compensation (ZAMM 54, 1974), so that a long epoch loses nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Means {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    name: String,
    sum: f64,
    lost: f64,
    weight: f64,
}

impl Entry {
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - sum) + value;
        } else {
            self.lost += (value - sum) + self.sum;
        }
        self.sum = sum;
    }

    fn mean(&self) -> f64 {
        // The compensation of an infinite sum is NaN; the sum itself says more.
        let total = if self.sum.is_finite() { self.sum + self.lost } else { self.sum };
        total / self.weight
    }
}

impl Means {
    /// No names yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `value` under `name` with a weight, usually the batch size; a weight that is not positive adds nothing.
    ///
    /// A term that is absent in some steps has the mean of the steps in which it was present. NaN stays NaN.
    pub fn add(&mut self, name: &str, value: f64, weight: f64) {
        if weight.is_nan() || weight <= 0.0 {
            return;
        }
        let index = self.entries.iter().position(|e| e.name == name).unwrap_or_else(|| {
            self.entries.push(Entry { name: name.to_string(), sum: 0.0, lost: 0.0, weight: 0.0 });
            self.entries.len() - 1
        });
        let entry = &mut self.entries[index];
        entry.add(value * weight);
        entry.weight += weight;
    }

    /// The mean under `name`; `None` when nothing was added.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.entries.iter().find(|e| e.name == name).map(Entry::mean)
    }

    /// Names and means, in the order in which the names first came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.entries.iter().map(|e| (e.name.as_str(), e.mean()))
    }

    /// True when nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_weighted_and_ordered() {
        let mut means = Means::new();
        assert!(means.is_empty());
        means.add("task", 2.0, 3.0);
        means.add("kd", 10.0, 3.0);
        means.add("task", 6.0, 1.0);
        means.add("task", 100.0, 0.0);
        assert_eq!(means.iter().collect::<Vec<_>>(), [("task", 3.0), ("kd", 10.0)]);
        assert_eq!((means.get("kd"), means.get("at")), (Some(10.0), None));
    }

    #[test]
    fn small_terms_survive_large_ones() {
        let mut means = Means::new();
        for value in [1.0, 1e100, 1.0, -1e100] {
            means.add("x", value, 1.0);
        }
        assert_eq!(means.get("x"), Some(0.5));
    }

    #[test]
    fn nan_and_infinity_are_not_hidden() {
        let mut means = Means::new();
        means.add("a", f64::NAN, 1.0);
        means.add("a", 1.0, 1.0);
        means.add("b", f64::INFINITY, 1.0);
        means.add("b", 1.0, 1.0);
        assert!(means.get("a").unwrap().is_nan());
        assert_eq!(means.get("b"), Some(f64::INFINITY));
    }
}
