//! The exponential function in plain arithmetic, so that loops with it vectorise.

/// `e^v` for v <= 0, within 2.5e-7 of it relatively down to v = -87, below which it stays at `e^-87` (1.6e-38); NaN stays
/// NaN.
///
/// ```text
/// v = n ln 2 + r, n whole, |r| <= ln 2 / 2        e^v = 2^n e^r, e^r by its Taylor polynomial of degree 6
/// ```
/// ln 2 is taken off in two parts, the first with few digits, so that n times it is exact (Cody and Waite 1980).
#[inline(always)]
pub(crate) fn exp_of_negative(v: f32) -> f32 {
    /// Added to a small number it leaves the nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let v = if v < -87.0 { -87.0 } else { v };
    let shifted = v * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (v - n * LN_2[0]) - n * LN_2[1];
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + c;
    }
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    p * f32::from_bits(exponent << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_meets_the_library() {
        let mut worst = 0.0f64;
        for i in 0..=87_000 {
            let v = -(i as f32) / 1000.0;
            worst = worst.max((f64::from(exp_of_negative(v)) / f64::from(v).exp() - 1.0).abs());
        }
        assert!(worst < 2.5e-7, "{worst}");
        assert_eq!(exp_of_negative(0.0), 1.0);
        assert_eq!(exp_of_negative(f32::NEG_INFINITY), exp_of_negative(-87.0));
        assert!(exp_of_negative(f32::NAN).is_nan());
    }
}
