//! Decoded samples kept in memory, so that only the first epoch decodes.

use crate::{DataError, Dataset, Sample, Task};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// A data set whose samples stay decoded in memory until a budget of bytes is used up.
///
/// What a sample holds never depends on the cache; which samples are kept when the budget does not reach for all
/// depends on the order of reading.
pub struct Cached {
    inner: Arc<dyn Dataset>,
    slots: Vec<OnceLock<Sample>>,
    left: Arc<AtomicUsize>,
}

impl Cached {
    /// Keeps samples of `inner` while `budget` (bytes, which several caches may share) lasts.
    pub fn new(inner: Arc<dyn Dataset>, budget: Arc<AtomicUsize>) -> Self {
        let slots = (0..inner.len()).map(|_| OnceLock::new()).collect();
        Self { inner, slots, left: budget }
    }
}

impl Dataset for Cached {
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn classes(&self) -> &[String] {
        self.inner.classes()
    }
    fn task(&self) -> Task {
        self.inner.task()
    }
    fn label(&self, index: usize) -> Option<usize> {
        self.inner.label(index)
    }
    fn describe(&self, index: usize) -> String {
        self.inner.describe(index)
    }
    fn load(&self, index: usize) -> Result<Sample, DataError> {
        if let Some(sample) = self.slots[index].get() {
            return Ok(sample.clone());
        }
        let sample = self.inner.load(index)?;
        let bytes = sample.bytes();
        let take = |left: usize| left.checked_sub(bytes);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
            && self.slots[index].set(sample.clone()).is_err()
        {
            // Another thread was faster with the same sample.
            self.left.fetch_add(bytes, Ordering::Relaxed);
        }
        Ok(sample)
    }
    fn size(&self, index: usize) -> Result<[usize; 2], DataError> {
        self.inner.size(index)
    }
    fn origin(&self, index: usize) -> usize {
        self.inner.origin(index)
    }
    fn scene(&self, index: usize) -> usize {
        self.inner.scene(index)
    }
    fn has_teacher_view(&self) -> bool {
        self.inner.has_teacher_view()
    }
    fn in_memory(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Numbers;

    #[test]
    fn samples_are_kept_within_the_budget_and_equal() {
        let inner = Arc::new(Numbers::new(10, 2));
        let bytes = inner.load(0).unwrap().bytes();
        let left = Arc::new(AtomicUsize::new(bytes * 4 + 1));
        let cached = Cached::new(inner.clone(), left.clone());
        for _ in 0..2 {
            for i in 0..10 {
                assert_eq!(cached.load(i).unwrap().student, inner.load(i).unwrap().student);
            }
        }
        assert_eq!(left.load(Ordering::Relaxed), 1);
        assert!(Arc::ptr_eq(&cached.load(3).unwrap().student, &cached.load(3).unwrap().student));
        assert!(!Arc::ptr_eq(&cached.load(4).unwrap().student, &cached.load(4).unwrap().student));
    }
}
