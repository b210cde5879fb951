//! ln(1 + z) in plain arithmetic, so that loops with it vectorise.

use crate::fft::lanes::Real;

/// A float with the few functions that comparing logarithms needs.
pub(crate) trait Number: Real {
    /// `ln(1 + z)` for z >= 0, in f32 below 1.2e38; what is not finite gives no finite number.
    fn log_1p(self) -> Self;
    /// |z|.
    fn magnitude(self) -> Self;
    /// 1 for z > 0, -1 for z < 0, 0 for 0.
    fn sign(self) -> Self;
    /// As f64.
    fn wide(self) -> f64;
}

impl Number for f32 {
    /// Within 2e-7 of it relatively for 0 <= z < 2^126.5, about 1.2e38. Above it 2^-k is no normal number and the value
    /// is wrong: an f32 there is one doubling or two from infinity.
    ///
    /// ```text
    /// 1 + z = 2^k (1 + f), k whole, 1 + f in [sqrt(1/2), sqrt(2)):   ln(1 + z) = k ln 2 + ln(1 + f)
    /// f = 2^-k z - (1 - 2^-k)      s = f / (2 + f), |s| < 0.172
    /// ln(1 + f) = 2 artanh s = 2 (s + s^3 / 3 + s^5 / 5 + s^7 / 7 + s^9 / 9 + ...)
    /// ```
    /// k is read off the rounded sum 1 + z, f is taken from z itself, so that a small z keeps all its digits.
    #[inline(always)]
    fn log_1p(self) -> f32 {
        /// Bits of sqrt(1/2), so that their difference's exponent is k.
        const HALF_ROOT: u32 = 0x3f35_04f3;
        let k = ((1.0 + self).to_bits().wrapping_sub(HALF_ROOT) as i32) >> 23;
        let shrink = f32::from_bits((127_i32.wrapping_sub(k) as u32) << 23);
        let f = self * shrink - (1.0 - shrink);
        let s = f / (2.0 + f);
        let q = s * s;
        let mut p = 1.0 / 9.0;
        for c in [1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0] {
            p = p * q + c;
        }
        k as f32 * std::f32::consts::LN_2 + (2.0 * s + 2.0 * s * (q * p))
    }
    #[inline(always)]
    fn magnitude(self) -> f32 {
        self.abs()
    }
    #[inline(always)]
    fn sign(self) -> f32 {
        f32::from(i8::from(self > 0.0) - i8::from(self < 0.0))
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Number for f64 {
    #[inline(always)]
    fn log_1p(self) -> f64 {
        self.ln_1p()
    }
    #[inline(always)]
    fn magnitude(self) -> f64 {
        self.abs()
    }
    #[inline(always)]
    fn sign(self) -> f64 {
        f64::from(i8::from(self > 0.0) - i8::from(self < 0.0))
    }
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_meets_the_library() {
        let mut worst = 0.0f64;
        // Every exponent from 1e-30 to the end of its range, in steps of about a thousandth.
        let mut z = 1e-30f32;
        while z < 1.2e38 {
            let exact = f64::from(z).ln_1p();
            worst = worst.max((f64::from(z.log_1p()) / exact - 1.0).abs());
            z *= 1.001;
        }
        assert!(worst < 2e-7, "{worst}");
        assert!((1.2e38f32.log_1p() - 1.2e38f32.ln()).abs() < 2e-5);
        assert_eq!(0.0f32.log_1p(), 0.0);
        assert!(f32::NAN.log_1p().is_nan() && !f32::INFINITY.log_1p().is_finite());
        assert_eq!([2.0f32, -0.5, 0.0].map(Number::sign), [1.0, -1.0, 0.0]);
    }
}
