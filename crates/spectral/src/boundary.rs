//! How a signal continues beyond its ends.
use crate::SpectralError;

/// The rule that continues a signal `x_0 .. x_{n-1}` to all integers, with the meaning it has in PyWavelets.
///
/// Written for the signal `a b c d`:
///
/// | rule | continuation |
/// |---|---|
/// | `Zero` | `0 0 | a b c d | 0 0` |
/// | `Symmetric` | `b a | a b c d | d c` (half-sample symmetry) |
/// | `Reflect` | `c b | a b c d | c b` (whole-sample symmetry) |
/// | `Periodic` | `c d | a b c d | a b` |
/// | `Constant` | `a a | a b c d | d d` |
/// | `Periodization` | as `Periodic`, with the fewest coefficients: `ceil(n / 2)` per band |
///
/// All rules but the last yield `floor((n + L - 1) / 2)` coefficients per band for filters of length L. An odd signal
/// under `Periodization` repeats its last value once before it is made periodic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Boundary {
    /// Zeros outside; with Haar the energy is preserved at every size.
    #[default]
    Zero,
    /// Mirrored between the samples.
    Symmetric,
    /// Mirrored at the samples.
    Reflect,
    /// Repeated.
    Periodic,
    /// Repeated, critically sampled; orthogonal wavelets preserve the energy of even sizes.
    Periodization,
    /// The end values go on.
    Constant,
}

impl Boundary {
    /// All rules.
    pub const ALL: [Self; 6] =
        [Self::Zero, Self::Symmetric, Self::Reflect, Self::Periodic, Self::Periodization, Self::Constant];

    /// The name used in recipes: that of the variant in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Symmetric => "symmetric",
            Self::Reflect => "reflect",
            Self::Periodic => "periodic",
            Self::Periodization => "periodization",
            Self::Constant => "constant",
        }
    }

    /// The rule of that name.
    ///
    /// # Errors
    /// [`SpectralError::UnknownBoundary`].
    pub fn by_name(name: &str) -> Result<Self, SpectralError> {
        let found = Self::ALL.into_iter().find(|b| b.name() == name);
        found.ok_or_else(|| SpectralError::UnknownBoundary { name: name.into() })
    }

    /// Which of `n` samples stands at position `t`; `None` where the signal is zero.
    pub(crate) fn source(self, t: isize, n: usize) -> Option<usize> {
        let length = n as isize;
        let fold = |period: isize, r: isize| if r < length { r } else { period - r };
        let at = match self {
            _ if (0..length).contains(&t) => t,
            Self::Zero => return None,
            Self::Symmetric => fold(2 * length - 1, t.rem_euclid(2 * length)),
            Self::Reflect if n == 1 => 0,
            Self::Reflect => fold(2 * length - 2, t.rem_euclid(2 * length - 2)),
            Self::Periodic => t.rem_euclid(length),
            Self::Periodization => t.rem_euclid(length + length % 2).min(length - 1),
            Self::Constant => t.clamp(0, length - 1),
        };
        Some(at as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continues_as_in_the_table() {
        let row = |b: Boundary| -> String {
            (-3..7).map(|t| b.source(t, 4).map_or('0', |k| (b'a' + k as u8) as char)).collect()
        };
        assert_eq!(row(Boundary::Zero), "000abcd000");
        assert_eq!(row(Boundary::Symmetric), "cbaabcddcb");
        assert_eq!(row(Boundary::Reflect), "dcbabcdcba");
        assert_eq!(row(Boundary::Periodic), "bcdabcdabc");
        assert_eq!(row(Boundary::Constant), "aaaabcdddd");
        let odd: Vec<_> = (-2..5).map(|t| Boundary::Periodization.source(t, 3).unwrap()).collect();
        assert_eq!(odd, [2, 2, 0, 1, 2, 2, 0]);
    }

    #[test]
    fn one_sample_continues_forever() {
        for b in Boundary::ALL {
            for t in -9..9 {
                let expected = (b != Boundary::Zero || t == 0).then_some(0);
                assert_eq!(b.source(t, 1), expected, "{b:?} at {t}");
            }
        }
    }

    #[test]
    fn names_round_trip() {
        for b in Boundary::ALL {
            assert_eq!(Boundary::by_name(b.name()), Ok(b));
        }
        assert!(Boundary::by_name("zeros").is_err());
    }
}
