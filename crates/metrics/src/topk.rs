//! Top-k accuracy.
//!
//! For logits `z` and label `y` the rank of the label is
//! `r = |{j : z_j > z_y}| + |{j < y : z_j = z_y}|`, its place in a stable descending sort; the sample is a top-k hit
//! when `r < k`. So the lowest index wins a tie, whatever the sorting routine. The figure is hits over samples of
//! the whole split, times 100.

use serde::{Deserialize, Serialize};

/// Counts of a split; add batches, then read [`TopK::result`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopK {
    total: u64,
    correct1: u64,
    correct5: u64,
    invalid: u64,
}

/// The figures of a split.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TopKResult {
    /// Samples whose label has the largest logit.
    pub correct: u64,
    /// Samples seen.
    pub total: u64,
    /// Top-1 accuracy in percent; 0 when no sample was seen.
    pub top1: f64,
    /// Top-5 accuracy in percent. With fewer than five classes every valid sample is a hit.
    pub top5: f64,
    /// Samples counted as wrong because a logit is NaN or the label is outside the classes.
    pub invalid: u64,
}

impl TopK {
    /// An empty count.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a batch: `logits` holds `labels.len()` rows of `classes` values.
    ///
    /// A row with a NaN, or a label not below `classes`, counts as wrong and as invalid. An error when the number of
    /// logits is not `labels.len() * classes` or `classes` is 0; nothing is added then.
    pub fn add(&mut self, logits: &[f32], labels: &[usize], classes: usize) -> Result<(), String> {
        if classes == 0 || logits.len() != labels.len() * classes {
            return Err(format!("{} logits for {} samples of {classes} classes", logits.len(), labels.len()));
        }
        for (row, &label) in logits.chunks_exact(classes).zip(labels) {
            self.total += 1;
            match label_rank(row, label) {
                Some(rank) => {
                    self.correct1 += u64::from(rank < 1);
                    self.correct5 += u64::from(rank < 5);
                }
                None => self.invalid += 1,
            }
        }
        Ok(())
    }

    /// Adds another count, of other samples.
    pub fn merge(&mut self, other: &Self) {
        self.total += other.total;
        self.correct1 += other.correct1;
        self.correct5 += other.correct5;
        self.invalid += other.invalid;
    }

    /// The figures so far.
    pub fn result(&self) -> TopKResult {
        let percent = |hits: u64| if self.total == 0 { 0.0 } else { 100.0 * hits as f64 / self.total as f64 };
        TopKResult {
            correct: self.correct1,
            total: self.total,
            top1: percent(self.correct1),
            top5: percent(self.correct5),
            invalid: self.invalid,
        }
    }
}

/// The label's place in a stable descending sort of `row`; `None` for a NaN in the row or a label outside it.
fn label_rank(row: &[f32], label: usize) -> Option<usize> {
    let own = *row.get(label)?;
    let mut rank = 0;
    for (index, &value) in row.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        rank += usize::from(value > own || (value == own && index < label));
    }
    Some(rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use subband_seed::Stream;

    fn hits(logits: &[f32], labels: &[usize], classes: usize) -> TopKResult {
        let mut top = TopK::new();
        top.add(logits, labels, classes).unwrap();
        top.result()
    }

    #[test]
    fn agrees_with_a_stable_sort_on_random_logits_with_ties() {
        let mut stream = Stream::new(4);
        for classes in [1, 2, 3, 5, 6, 10, 100] {
            let (n, levels) = (200, 8);
            let logits: Vec<f32> = (0..n * classes).map(|_| stream.below(levels) as f32 - 3.0).collect();
            let labels: Vec<usize> = (0..n).map(|_| stream.below(classes)).collect();
            let (mut one, mut five) = (0, 0);
            for (row, label) in logits.chunks(classes).zip(&labels) {
                let mut order: Vec<usize> = (0..classes).collect();
                order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
                one += u64::from(order[0] == *label);
                five += u64::from(order.iter().take(5).any(|i| i == label));
            }
            let result = hits(&logits, &labels, classes);
            assert_eq!(result.correct, one);
            assert!((result.top5 - 100.0 * five as f64 / n as f64).abs() < 1e-12);
        }
    }

    #[test]
    fn ties_go_to_the_lowest_index() {
        assert_eq!(hits(&[1.0; 6], &[0], 6).correct, 1);
        assert_eq!(hits(&[1.0; 6], &[1], 6).correct, 0);
        assert_eq!(hits(&[1.0; 6], &[4], 6).top5, 100.0);
        assert_eq!(hits(&[1.0; 6], &[5], 6).top5, 0.0);
        assert_eq!(hits(&[0.0, -0.0], &[1], 2).correct, 0);
    }

    #[test]
    fn nan_rows_and_impossible_labels_are_wrong() {
        let rows = [f32::NAN, 0.0, 3.0, f32::NAN, 5.0, 1.0, f32::INFINITY, f32::NEG_INFINITY];
        let result = hits(&rows, &[0, 0, 2, 0], 2);
        assert_eq!((result.correct, result.total, result.invalid), (1, 4, 3));
        assert_eq!(result.top5, 25.0);
    }

    #[test]
    fn batches_do_not_change_the_figure_and_shapes_are_checked() {
        let mut stream = Stream::new(8);
        let logits: Vec<f32> = (0..70).map(|_| stream.normal() as f32).collect();
        let labels: Vec<usize> = (0..10).map(|_| stream.below(7)).collect();
        let (mut whole, mut parts, mut last) = (TopK::new(), TopK::new(), TopK::new());
        whole.add(&logits, &labels, 7).unwrap();
        parts.add(&logits[..63], &labels[..9], 7).unwrap();
        last.add(&logits[63..], &labels[9..], 7).unwrap();
        parts.merge(&last);
        assert_eq!(whole, parts);
        assert!(whole.add(&logits, &labels, 6).is_err() && whole.add(&[], &[], 0).is_err());
        assert_eq!(whole, parts);
        assert_eq!(TopK::new().result().top1, 0.0);
    }
}
