//! Discrete wavelets by name.
mod table;

use crate::SpectralError;

/// The four filters of a discrete wavelet, in the order and sign of PyWavelets.
///
/// One level of analysis of a signal x (continued by a boundary rule) is
///
/// ```text
/// a_i = sum_k dec_lo[k] x[2i + 1 - k]        d_i = sum_k dec_hi[k] x[2i + 1 - k]
/// ```
///
/// and synthesis adds the upsampled bands convolved with `rec_lo` and `rec_hi`. The high-pass filters follow from the
/// low-pass ones: `dec_hi[k] = (-1)^(k+1) rec_lo[k]` and `rec_hi[k] = (-1)^k dec_lo[k]`. All four have the same even
/// length; short biorthogonal filters are padded with zeros.
#[derive(Debug, Clone, PartialEq)]
pub struct Wavelet {
    name: String,
    dec_lo: Vec<f64>,
    rec_lo: Vec<f64>,
    orthogonal: bool,
}

impl Wavelet {
    /// The wavelet of that name: `haar`, `db1` to `db20`, `sym2` to `sym20`, `coif1` to `coif5`, and `bior` or `rbio`
    /// with 1.1, 1.3, 1.5, 2.2, 2.4, 2.6, 2.8, 3.1, 3.3, 3.5, 3.7, 3.9, 4.4, 5.5 or 6.8. `haar` is `db1`.
    ///
    /// # Errors
    /// [`SpectralError::UnknownWavelet`], with the nearest known name.
    pub fn by_name(name: &str) -> Result<Self, SpectralError> {
        let key = if name == "haar" { "db1" } else { name };
        let reversed = |f: &[f64]| f.iter().rev().copied().collect::<Vec<_>>();
        if let Some((_, dec)) = table::ORTHOGONAL.iter().find(|(n, _)| *n == key) {
            return Ok(Self { name: name.into(), dec_lo: dec.to_vec(), rec_lo: reversed(dec), orthogonal: true });
        }
        let spline = |prefix| {
            let order = key.strip_prefix(prefix)?;
            table::BIORTHOGONAL.iter().find(|(n, _, _)| *n == order)
        };
        if let Some((_, dec, rec)) = spline("bior") {
            return Ok(Self { name: name.into(), dec_lo: dec.to_vec(), rec_lo: rec.to_vec(), orthogonal: false });
        }
        if let Some((_, dec, rec)) = spline("rbio") {
            return Ok(Self { name: name.into(), dec_lo: reversed(rec), rec_lo: reversed(dec), orthogonal: false });
        }
        let nearest = Self::names().into_iter().map(|n| (distance(name, &n), n)).min();
        let nearest = nearest.filter(|(d, _)| *d <= 2).map(|(_, n)| n);
        Err(SpectralError::UnknownWavelet { name: name.into(), nearest })
    }

    /// The Haar wavelet.
    pub fn haar() -> Self {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        Self { name: "haar".into(), dec_lo: vec![half; 2], rec_lo: vec![half; 2], orthogonal: true }
    }

    /// All names.
    pub fn names() -> Vec<String> {
        let splines = |prefix: &'static str| table::BIORTHOGONAL.iter().map(move |(n, _, _)| format!("{prefix}{n}"));
        let mut names = vec!["haar".to_string()];
        names.extend(table::ORTHOGONAL.iter().map(|(n, _)| n.to_string()));
        names.extend(splines("bior").chain(splines("rbio")));
        names
    }

    /// The name it was asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length of the filters.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.dec_lo.len()
    }

    /// Whether synthesis is the transpose of analysis (all but `bior` and `rbio`).
    pub fn is_orthogonal(&self) -> bool {
        self.orthogonal
    }

    /// Whether both filters are Haar's.
    pub fn is_haar(&self) -> bool {
        self.dec_lo.len() == 2
    }

    /// Low-pass analysis filter.
    pub fn dec_lo(&self) -> &[f64] {
        &self.dec_lo
    }

    /// High-pass analysis filter.
    pub fn dec_hi(&self) -> Vec<f64> {
        alternate(&self.rec_lo, -1.0)
    }

    /// Low-pass synthesis filter.
    pub fn rec_lo(&self) -> &[f64] {
        &self.rec_lo
    }

    /// High-pass synthesis filter.
    pub fn rec_hi(&self) -> Vec<f64> {
        alternate(&self.dec_lo, 1.0)
    }
}

/// `f[k] * first * (-1)^k`.
fn alternate(f: &[f64], first: f64) -> Vec<f64> {
    f.iter().enumerate().map(|(k, v)| if k % 2 == 0 { first * v } else { -first * v }).collect()
}

/// Edit distance of two short names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gives_a_perfect_reconstruction_pair() {
        assert_eq!(Wavelet::names().len(), 1 + 20 + 19 + 5 + 15 + 15);
        for name in Wavelet::names() {
            let w = Wavelet::by_name(&name).unwrap();
            assert_eq!(w.len() % 2, 0, "{name}");
            // sum_k rec_lo[k] dec_lo[L-1-k+2m] = delta_m, and both sum to sqrt 2.
            for m in -(w.len() as isize)..=w.len() as isize {
                let term = |k: usize| {
                    let j = w.len() as isize - 1 - k as isize + 2 * m;
                    usize::try_from(j).ok().and_then(|j| w.dec_lo().get(j)).map_or(0.0, |v| v * w.rec_lo()[k])
                };
                let sum: f64 = (0..w.len()).map(term).sum();
                assert!((sum - f64::from(m == 0)).abs() < 1e-9, "{name} shift {m}: {sum}");
            }
            assert!((w.dec_lo().iter().sum::<f64>() - 2f64.sqrt()).abs() < 1e-9, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_offers_the_nearest() {
        let error = Wavelet::by_name("harr").unwrap_err();
        assert!(error.to_string().contains("did you mean `haar`"), "{error}");
        assert!(!Wavelet::by_name("morlet").unwrap_err().to_string().contains("did you mean"));
    }
}
