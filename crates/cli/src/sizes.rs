//! Sizes as flags write them.
use subband_data::Size;

use crate::failure::Failure;

/// What `--NAME` says: height and width as `360x480` or `360,480`, or one number for a square.
///
/// # Errors
/// Text that is neither, a side of 0.
pub fn size(name: &str, text: &str) -> Result<Size, Failure> {
    match numbers(text).as_deref() {
        Some([side]) => Ok(Size::square(*side)),
        Some([height, width]) => Ok(Size { height: *height, width: *width }),
        _ => Err(Failure::usage(
            format!("--{name} {text} is no size"),
            "write height and width, for example 360x480, or one number for a square",
        )),
    }
}

/// The numbers, from 1 on, between the `x` (or commas) of a text; `None` if something else stands there.
pub fn numbers(text: &str) -> Option<Vec<usize>> {
    text.split(['x', ',']).map(|number| number.trim().parse().ok().filter(|number| *number > 0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_pair_or_a_side() {
        let size = |text| size("resize", text).map(Size::array).map_err(|failure| failure.message().to_string());
        assert_eq!(size("360x480"), Ok([360, 480]));
        assert_eq!(size("360,480"), Ok([360, 480]));
        assert_eq!(size(" 7 x 9 "), Ok([7, 9]));
        assert_eq!(size("224"), Ok([224, 224]));
        for text in ["", "x", "24x", "0x5", "-3", "2.5", "1x2x3", "a"] {
            assert_eq!(size(text), Err(format!("--resize {text} is no size")));
        }
    }
}
