//! Seeded choices of a data set's samples: class-balanced limits and stratified splits.

use crate::{DataError, Dataset, Sample, Task};
use std::collections::HashMap;
use std::sync::Arc;
use subband_seed::Stream;

/// Some samples of another data set, in a given order.
pub struct Subset {
    inner: Arc<dyn Dataset>,
    indices: Vec<usize>,
}

impl Subset {
    /// The samples `indices` of `inner`; an index outside it is an error.
    pub fn new(inner: Arc<dyn Dataset>, indices: Vec<usize>) -> Result<Self, DataError> {
        match indices.iter().find(|&&i| i >= inner.len()) {
            Some(i) => Err(DataError::Loader(format!("sample {i} of a data set of {}", inner.len()))),
            None => Ok(Self { inner, indices }),
        }
    }
}

impl Dataset for Subset {
    fn len(&self) -> usize {
        self.indices.len()
    }
    fn classes(&self) -> &[String] {
        self.inner.classes()
    }
    fn task(&self) -> Task {
        self.inner.task()
    }
    fn label(&self, index: usize) -> Option<usize> {
        self.inner.label(self.indices[index])
    }
    fn describe(&self, index: usize) -> String {
        self.inner.describe(self.indices[index])
    }
    fn load(&self, index: usize) -> Result<Sample, DataError> {
        self.inner.load(self.indices[index])
    }
    fn size(&self, index: usize) -> Result<[usize; 2], DataError> {
        self.inner.size(self.indices[index])
    }
    fn origin(&self, index: usize) -> usize {
        self.inner.origin(self.indices[index])
    }
    fn scene(&self, index: usize) -> usize {
        self.inner.scene(self.indices[index])
    }
    fn has_teacher_view(&self) -> bool {
        self.inner.has_teacher_view()
    }
    fn in_memory(&self) -> bool {
        self.inner.in_memory()
    }
}

/// The samples of each class, each class in a seeded order. Samples without one class are all of one kind.
fn shuffled_classes(dataset: &dyn Dataset, stream: Stream) -> Vec<Vec<usize>> {
    let mut classes = vec![Vec::new(); dataset.classes().len().max(1)];
    (0..dataset.len()).for_each(|i| classes[dataset.label(i).unwrap_or(0)].push(i));
    for (class, members) in classes.iter_mut().enumerate() {
        stream.with("class").at(class as u64).shuffle(members);
    }
    classes
}

/// `limit` samples, ascending: the classes in a seeded order give one sample each in turn until there are enough.
///
/// Class counts differ by at most one as long as no class runs out, and a smaller limit chooses a part of what a
/// larger one chooses. A limit beyond the data set takes all of it. Without classes of whole images (masks) it is the
/// plain seeded choice.
pub fn balanced(dataset: &dyn Dataset, limit: usize, stream: Stream) -> Vec<usize> {
    let classes = shuffled_classes(dataset, stream);
    let turns = stream.with("turns").permutation(classes.len());
    let longest = classes.iter().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..longest).flat_map(|round| turns.iter().map(move |&c| (c, round)));
    let mut chosen: Vec<usize> = in_turn.filter_map(|(c, round)| classes[c].get(round).copied()).take(limit).collect();
    chosen.sort_unstable();
    chosen
}

/// The members of one scene together ([`Dataset::scene`]), in the order of each scene's first member.
fn by_scene(dataset: &dyn Dataset, members: &[usize]) -> Vec<Vec<usize>> {
    let mut places: HashMap<usize, usize> = HashMap::new();
    let mut scenes: Vec<Vec<usize>> = Vec::new();
    for &member in members {
        let place = *places.entry(dataset.scene(member)).or_insert(scenes.len());
        match scenes.get_mut(place) {
            Some(scene) => scene.push(member),
            None => scenes.push(vec![member]),
        }
    }
    scenes
}

/// Splits the samples into (rest, share), both ascending: of each class `round(share * count)` samples go to the
/// second part, but at least one scene stays in each part when the class has two or more. Samples of one scene are never
/// parted, for which the share may become larger by a few. Samples without a class of the whole image (masks) are split
/// as one class.
pub fn stratified(dataset: &dyn Dataset, share: f64, stream: Stream) -> (Vec<usize>, Vec<usize>) {
    let (mut rest, mut part) = (Vec::new(), Vec::new());
    for members in shuffled_classes(dataset, stream) {
        let scenes = by_scene(dataset, &members);
        let wanted = (share * members.len() as f64).round() as usize;
        let wanted = if share > 0.0 { wanted.max(1) } else { 0 };
        let (last, mut taken) = (scenes.len().saturating_sub(1), 0);
        for (place, scene) in scenes.into_iter().enumerate() {
            let takes = taken < wanted && place < last;
            taken += if takes { scene.len() } else { 0 };
            if takes { &mut part } else { &mut rest }.extend(scene);
        }
    }
    rest.sort_unstable();
    part.sort_unstable();
    (rest, part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Numbers;

    fn counts(dataset: &dyn Dataset, indices: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; dataset.classes().len()];
        indices.iter().for_each(|&i| counts[dataset.label(i).unwrap()] += 1);
        counts
    }

    #[test]
    fn limits_are_balanced_nested_and_seeded() {
        let data = Numbers::new(1000, 7);
        let (a, b) = (balanced(&data, 100, Stream::new(1)), balanced(&data, 200, Stream::new(1)));
        let per_class = counts(&data, &a);
        assert!(per_class.iter().all(|n| (14..=15).contains(n)) && a.len() == 100, "{per_class:?}");
        assert!(a.iter().all(|i| b.contains(i)));
        assert_eq!(a, balanced(&data, 100, Stream::new(1)));
        assert_ne!(a, balanced(&data, 100, Stream::new(2)));
        assert_eq!(balanced(&data, 5000, Stream::new(1)), (0..1000).collect::<Vec<_>>());
        assert!(balanced(&data, 0, Stream::new(1)).is_empty());
    }

    #[test]
    fn a_small_class_gives_all_it_has() {
        let data = Numbers::with_labels([vec![0; 3], vec![1; 50], vec![2; 50]].concat());
        assert_eq!(counts(&data, &balanced(&data, 43, Stream::new(1))), [3, 20, 20]);
    }

    #[test]
    fn splits_are_stratified_disjoint_and_complete() {
        let data = Numbers::with_labels([vec![0; 100], vec![1; 10], vec![2; 2], vec![3; 1]].concat());
        let (rest, part) = stratified(&data, 0.1, Stream::new(4));
        assert_eq!(counts(&data, &part), [10, 1, 1, 0]);
        let mut all = [rest.clone(), part.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..113).collect::<Vec<_>>());
        assert_eq!(stratified(&data, 0.1, Stream::new(4)), (rest, part));
        assert!(stratified(&data, 0.0, Stream::new(4)).1.is_empty());
    }

    /// Two samples of each scene: an even index and the next.
    struct Twins(Numbers);

    impl Dataset for Twins {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn classes(&self) -> &[String] {
            self.0.classes()
        }
        fn label(&self, _index: usize) -> Option<usize> {
            None
        }
        fn describe(&self, index: usize) -> String {
            self.0.describe(index)
        }
        fn load(&self, index: usize) -> Result<Sample, DataError> {
            self.0.load(index)
        }
        fn scene(&self, index: usize) -> usize {
            index / 2 * 2
        }
    }

    #[test]
    fn samples_of_one_scene_are_not_parted() {
        let data: Arc<dyn Dataset> = Arc::new(Twins(Numbers::new(41, 1)));
        for seed in 0..9 {
            let (rest, part) = stratified(data.as_ref(), 0.25, Stream::new(seed));
            // Ten are wanted, and an eleventh may come along.
            assert!((10..=11).contains(&part.len()) && rest.len() + part.len() == 41, "{part:?}");
            assert!(part.iter().all(|i| rest.iter().all(|other| i / 2 != other / 2)), "{part:?}");
        }
        // As it is in a choice of them; a scene alone is not parted either.
        let some = Subset::new(data, vec![7, 30, 6, 31]).unwrap();
        let (rest, part) = stratified(&some, 0.5, Stream::new(1));
        assert!([rest, part].iter().all(|half| half == &[0, 2] || half == &[1, 3]));
        assert_eq!((some.origin(1), some.scene(3)), (30, 30));
        let pair = Twins(Numbers::new(2, 1));
        assert_eq!(stratified(&pair, 0.5, Stream::new(1)), (vec![0, 1], vec![]));
    }
}
