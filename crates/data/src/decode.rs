//! JPEG and PNG files to [`Image`]s.
//!
//! The content decides the format, not the file's ending (ImageNet holds PNGs named `.JPEG`). JPEG: grey, YCbCr and
//! CMYK (converted to RGB). PNG: 1 to 16 bits, grey, palette, with alpha. Grey with alpha loses its alpha, RGB with
//! alpha keeps it as the fourth channel. EXIF orientation is not applied, as in the reference loaders.

use crate::DataError;
use crate::image::{Image, Samples};
use ::image::{DynamicImage, ImageFormat};
use std::path::Path;

/// The file endings taken for images, in lower case.
pub const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Reads and decodes an image file. Errors name the path.
pub fn read(path: &Path) -> Result<Image, DataError> {
    let bytes = std::fs::read(path).map_err(|e| DataError::image(path.display(), e))?;
    decode(&bytes, &path.display().to_string())
}

/// Decodes an image in memory; `name` stands in the error.
pub fn decode(bytes: &[u8], name: &str) -> Result<Image, DataError> {
    let fail = |reason: String| DataError::image(name, reason);
    if bytes.is_empty() {
        return Err(fail("the file is empty".into()));
    }
    let format = match ::image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => format,
        _ => return Err(fail(format!("it is neither JPEG nor PNG but {}", describe_content(bytes)))),
    };
    if format == ImageFormat::Jpeg && !jpeg_ends(bytes) {
        return Err(fail("the JPEG is truncated (its end marker is missing)".into()));
    }
    let decoded = ::image::load_from_memory_with_format(bytes, format).map_err(|e| fail(e.to_string()))?;
    convert(decoded, name)
}

/// Whether an end-of-image marker follows the last start-of-scan marker.
///
/// The decoder fills a truncated JPEG with grey; a data set must not take that in silence. In entropy-coded data the
/// byte FF is always followed by 00 or a restart marker, so neither marker is found by chance.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let scan = bytes.windows(2).rposition(|w| w == [0xff, 0xda]);
    scan.is_some_and(|at| bytes[at..].windows(2).any(|w| w == [0xff, 0xd9]))
}

/// A few words on what a file that is no image holds.
fn describe_content(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(16)];
    if head.iter().all(|b| (0x20..0x7f).contains(b) || b.is_ascii_whitespace()) {
        format!("text that starts with {:?}", String::from_utf8_lossy(head))
    } else {
        let hex: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!("a file that starts with the bytes {}", hex.join(" "))
    }
}

/// Keeps the bit depth, drops the alpha of grey images.
fn convert(decoded: DynamicImage, name: &str) -> Result<Image, DataError> {
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let (channels, samples) = match decoded {
        DynamicImage::ImageLuma8(i) => (1, Samples::U8(i.into_raw())),
        DynamicImage::ImageLumaA8(i) => (1, Samples::U8(every_other(i.into_raw()))),
        DynamicImage::ImageRgb8(i) => (3, Samples::U8(i.into_raw())),
        DynamicImage::ImageRgba8(i) => (4, Samples::U8(i.into_raw())),
        DynamicImage::ImageLuma16(i) => (1, Samples::U16(i.into_raw())),
        DynamicImage::ImageLumaA16(i) => (1, Samples::U16(every_other(i.into_raw()))),
        DynamicImage::ImageRgb16(i) => (3, Samples::U16(i.into_raw())),
        DynamicImage::ImageRgba16(i) => (4, Samples::U16(i.into_raw())),
        other => return Err(DataError::image(name, format!("unsupported pixel type {:?}", other.color()))),
    };
    Image::new(name, width, height, channels, samples)
}

fn every_other<T: Copy>(pairs: Vec<T>) -> Vec<T> {
    pairs.chunks_exact(2).map(|pair| pair[0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{GenericImageView, ImageBuffer, Luma, LumaA, Rgb, Rgba};
    use std::io::Cursor;

    fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.into().write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn png_keeps_depth_and_channels() {
        let grey16 = ImageBuffer::<Luma<u16>, _>::from_fn(3, 2, |x, y| Luma([(x * 20000 + y) as u16]));
        let image = decode(&encode(grey16, ImageFormat::Png), "a").unwrap();
        assert_eq!((image.width(), image.height(), image.channels()), (3, 2, 1));
        assert_eq!(image.samples(), &Samples::U16(vec![0, 20000, 40000, 1, 20001, 40001]));
        let rgba = ImageBuffer::<Rgba<u8>, _>::from_pixel(1, 1, Rgba([200, 100, 50, 3]));
        let image = decode(&encode(rgba, ImageFormat::Png), "a").unwrap();
        assert_eq!((image.channels(), image.samples()), (4, &Samples::U8(vec![200, 100, 50, 3])));
        let rgb16 = ImageBuffer::<Rgb<u16>, _>::from_pixel(1, 2, Rgb([1, 65535, 300]));
        let image = decode(&encode(rgb16, ImageFormat::Png), "a").unwrap();
        assert_eq!(image.samples(), &Samples::U16(vec![1, 65535, 300, 1, 65535, 300]));
        let grey_alpha = ImageBuffer::<LumaA<u8>, _>::from_pixel(2, 1, LumaA([9, 0]));
        let image = decode(&encode(grey_alpha, ImageFormat::Png), "a").unwrap();
        assert_eq!((image.channels(), image.samples()), (1, &Samples::U8(vec![9, 9])));
    }

    #[test]
    fn palette_and_low_depth_png() {
        // 2x1 pixels: a palette of (1,2,3) and (4,5,6), 1 bit a pixel; see fixtures/make_png.py.
        let palette = include_bytes!("../fixtures/palette.png");
        let image = decode(palette, "palette").unwrap();
        assert_eq!((image.channels(), image.samples()), (3, &Samples::U8(vec![1, 2, 3, 4, 5, 6])));
    }

    #[test]
    fn cmyk_jpeg_becomes_rgb_as_in_pillow() {
        let image = decode(include_bytes!("../fixtures/cmyk.jpg"), "cmyk").unwrap();
        let Samples::U8(v) = image.samples() else { panic!("8 bits") };
        let expected = include_bytes!("../fixtures/cmyk_rgb.bin");
        assert!(
            v.chunks(3).all(|p| p.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 3)),
            "{:?} {expected:?}",
            &v[..3]
        );
    }

    #[test]
    fn jpeg_grey_and_colour_decode_to_their_channels() {
        let grey = ImageBuffer::<Luma<u8>, _>::from_pixel(5, 3, Luma([77]));
        let image = decode(&encode(grey, ImageFormat::Jpeg), "g").unwrap();
        assert_eq!(image.channels(), 1);
        let rgb = ImageBuffer::<Rgb<u8>, _>::from_pixel(17, 9, Rgb([200, 30, 90]));
        let image = decode(&encode(rgb, ImageFormat::Jpeg), "c").unwrap();
        let Samples::U8(v) = image.samples() else { panic!("8 bits") };
        assert!(v.chunks(3).all(|p| p.iter().zip([200, 30, 90]).all(|(a, b)| a.abs_diff(b) <= 3)));
    }

    #[test]
    fn content_decides_and_bad_files_are_named() {
        let rgb = ImageBuffer::<Rgb<u8>, _>::from_fn(32, 32, |x, y| Rgb([(x * 8) as u8, (y * 8) as u8, 7]));
        let (jpeg, png) = (encode(rgb.clone(), ImageFormat::Jpeg), encode(rgb, ImageFormat::Png));
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        assert!(read(&write("really-png.JPEG", &png)).is_ok());
        let cases: [(&str, &[u8], &str); 7] = [
            ("text.jpg", b"hello, I am text", "text that starts with \"hello"),
            ("empty.png", b"", "empty"),
            ("half.jpg", &jpeg[..jpeg.len() / 2], "truncated"),
            ("almost.jpg", &jpeg[..jpeg.len() - 2], "truncated"),
            ("half.png", &png[..png.len() / 2], ""),
            ("head.jpg", &jpeg[..20], ""),
            ("gif.png", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "neither JPEG nor PNG"),
        ];
        for (name, bytes, words) in cases {
            let error = read(&write(name, bytes)).unwrap_err();
            assert!(error.is_corrupt_sample() && error.to_string().contains(name), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        let missing = read(&folder.path().join("none.jpg")).unwrap_err().to_string();
        assert!(missing.contains("none.jpg"), "{missing}");
        assert_eq!(::image::load_from_memory(&png).unwrap().dimensions(), (32, 32));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let rgb = ImageBuffer::<Rgb<u8>, _>::from_fn(9, 7, |x, y| Rgb([(x * 28) as u8, (y * 30) as u8, 99]));
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let bytes = encode(rgb.clone(), format);
            // The last 12 bytes of a PNG are its IEND chunk, after all pixels; a decoder may do without.
            let end = bytes.len() - if format == ImageFormat::Png { 12 } else { 0 };
            let accepted = (0..end).filter(|&n| decode(&bytes[..n], "cut").is_ok()).collect::<Vec<_>>();
            assert!(accepted.iter().all(|&n| format == ImageFormat::Png && n + 20 > end), "{format:?} {accepted:?}");
        }
    }
}
