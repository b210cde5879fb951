//! Comparison with the Python package (see `fixtures/make_corruptions.py`), statistics of the random fields, errors.

use super::*;
use crate::decode;
use std::path::Path;

/// Width and height of the fixture.
const SMALL: (usize, usize) = (48, 40);

/// The oracle's picture, 1 (the green of the colour one) or 3 channels.
fn picture(width: usize, height: usize, channels: usize) -> Image {
    let value = |x: usize, y: usize, c: usize| match (x / 9 + 2 * (y / 7)) % 7 {
        0 => 255,
        3 => 0,
        5 => 96 + 20 * c,
        _ => (5 * x + 3 * y + 40 * c + 3 * (x * y % 7)) % 256,
    };
    let sample = |i: usize| {
        let c = if channels == 1 { 1 } else { i % channels };
        value(i / channels % width, i / channels / width, c) as u8
    };
    let samples = (0..width * height * channels).map(sample).collect();
    Image::new("picture", width, height, channels, Samples::U8(samples)).unwrap()
}

/// The oracle's textures of frost.
fn made_up_frost() -> Frost {
    Frost::from_images(std::array::from_fn(|i| {
        let (width, height) = (60 - 6 * i, 30 + 5 * i);
        let value = |x: usize, y: usize, c: usize| (x * (3 + i) + y * (7 - i) + 31 * c + x * y * (i + 1) % 61) % 256;
        let samples = (0..width * height * 3).map(|j| value(j / 3 % width, j / 3 / width, j % 3) as u8).collect();
        Image::new("texture", width, height, 3, Samples::U8(samples)).unwrap()
    }))
    .unwrap()
}

fn bytes(image: &Image) -> &[u8] {
    let Samples::U8(v) = image.samples() else { panic!("8 bits") };
    v
}

/// The corruption with the random numbers of the oracle, severity `s` with picture `s` of frost.
fn replay(corruption: Corruption, severity: Severity, image: &Image, frost: &Frost) -> Image {
    let mut fields = Fields::draw(corruption, severity, image, frost, Stream::new(u64::from(severity.get())));
    if let Fields::Frost { texture, .. } = &mut fields {
        *texture = frost.texture(usize::from(severity.get()) - 1);
    }
    corruption.apply(image, severity, &fields).unwrap()
}

/// How far two series of samples are apart.
#[derive(Default)]
struct Difference {
    largest: u8,
    unequal: usize,
    sum: f64,
    squares: f64,
    count: usize,
}

impl Difference {
    fn between(found: impl Iterator<Item = u8>, expected: &[u8]) -> Self {
        let mut out = Self { count: expected.len(), ..Self::default() };
        for (a, &b) in found.zip(expected) {
            let d = a.abs_diff(b);
            out.largest = out.largest.max(d);
            out.unequal += usize::from(d > 0);
            out.sum += f64::from(d);
            out.squares += f64::from(d).powi(2);
        }
        out
    }

    fn share(&self) -> f64 {
        self.unequal as f64 / self.count as f64
    }

    fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// Peak signal-to-noise ratio in dB.
    fn psnr(&self) -> f64 {
        10.0 * (255.0 * 255.0 * self.count as f64 / self.squares.max(1e-9)).log10()
    }
}

#[test]
fn every_corruption_equals_the_package() {
    let mut oracle = include_bytes!("../../fixtures/corruptions.bin").as_slice();
    let frost = made_up_frost();
    let (mut unequal, mut count) = (0, 0);
    for corruption in Corruption::ALL {
        for severity in Severity::ALL {
            for channels in [3, 1] {
                let out = replay(corruption, severity, &picture(SMALL.0, SMALL.1, channels), &frost);
                let sampled: Vec<u8> =
                    bytes(&out).iter().skip(usize::from(severity.get())).step_by(7).copied().collect();
                let (expected, rest) = oracle.split_at(sampled.len());
                oracle = rest;
                let d = Difference::between(sampled.into_iter(), expected);
                assert!(d.largest <= 1, "{corruption} {severity}, {channels} channels: off by {}", d.largest);
                (unequal, count) = (unequal + d.unequal, count + d.count);
            }
        }
    }
    assert!(oracle.is_empty());
    assert!(unequal as f64 <= 0.001 * count as f64, "{unequal} of {count} samples differ");
}

/// Whole images of any size, made by `make_corruptions.py FOLDER W H`, when `SUBBAND_CORRUPTIONS` names the folder;
/// with the package's photographs (`... W H package`) `SUBBAND_FROST` names theirs. Prints a table.
#[test]
fn whole_images_equal_the_package() {
    let Some(folder) = std::env::var_os("SUBBAND_CORRUPTIONS") else {
        println!("skipped: SUBBAND_CORRUPTIONS is not set");
        return;
    };
    let read = |name: &str| decode::read(&Path::new(&folder).join(format!("{name}.png"))).unwrap();
    let photographs = std::env::var_os("SUBBAND_FROST");
    let frost = photographs.as_ref().map_or_else(made_up_frost, |p| Frost::from_folder(Path::new(p)).unwrap());
    for corruption in Corruption::ALL {
        for suffix in ["", "-grey"] {
            let image = read(&format!("image{suffix}"));
            for severity in Severity::ALL {
                let start = std::time::Instant::now();
                let out = replay(corruption, severity, &image, &frost);
                let time = start.elapsed().as_secs_f64() * 1e3;
                let expected = read(&format!("{corruption}-{severity}{suffix}"));
                let d = Difference::between(bytes(&out).iter().copied(), bytes(&expected));
                println!(
                    "{corruption:18}{suffix:6}{severity}: largest {}, differ {:.5} %, mean {:.5}, PSNR {:.1} dB, {time:.0} ms",
                    d.largest,
                    d.share() * 100.0,
                    d.mean(),
                    d.psnr()
                );
                // Photographs of frost are decoded by another JPEG decoder.
                let allowed =
                    if corruption == Corruption::Frost && photographs.is_some() { (3, 0.03) } else { (1, 1e-3) };
                assert!(d.largest <= allowed.0 && d.share() <= allowed.1, "{corruption}{suffix} {severity}");
            }
        }
    }
}

#[test]
fn any_size_and_channels_keep_theirs() {
    for (width, height) in [(32, 32), (33, 47), (65, 34), (32, 129)] {
        let rgb = picture(width, height, 3);
        let four = bytes(&rgb).chunks(3).enumerate().flat_map(|(i, p)| [p[0], p[1], p[2], i as u8]).collect();
        let four = Image::new("four", width, height, 4, Samples::U8(four)).unwrap();
        for corruption in Corruption::ALL {
            for severity in [Severity::ALL[0], Severity::ALL[4]] {
                let frost = Frost::synthetic();
                let out = replay(corruption, severity, &rgb, frost);
                assert_eq!((out.width(), out.height(), out.channels()), (width, height, 3));
                assert!(out != rgb, "{corruption}");
                let with_fourth = replay(corruption, severity, &four, frost);
                for (i, (new, old)) in bytes(&with_fourth).chunks(4).zip(bytes(&out).chunks(3)).enumerate() {
                    assert_eq!(new, [old[0], old[1], old[2], i as u8], "{corruption} {severity}");
                }
                let grey = replay(corruption, severity, &picture(width, height, 1), frost);
                assert_eq!((grey.width(), grey.height(), grey.channels()), (width, height, 1));
            }
        }
    }
}

#[test]
fn black_and_white_images_are_finite() {
    for value in [0, 255] {
        let image = Image::new("flat", 40, 33, 3, Samples::U8(vec![value; 40 * 33 * 3])).unwrap();
        for corruption in [Corruption::Pixelate, Corruption::Contrast, Corruption::JpegCompression] {
            let out = replay(corruption, Severity::ALL[4], &image, Frost::synthetic());
            assert!(bytes(&out).iter().all(|v| v.abs_diff(value) <= 1), "{corruption} of {value}");
        }
        // Without a drop of water in the field the image stays.
        let dry = Fields::Normal(vec![-1.0; 40 * 33]);
        let out = Corruption::Spatter.apply(&image, Severity::ALL[0], &dry).unwrap();
        assert!(out == image);
    }
}

#[test]
fn names_and_severities_are_checked() {
    for corruption in Corruption::ALL {
        assert_eq!(corruption.to_string().parse::<Corruption>().unwrap(), corruption);
    }
    let distinct: std::collections::HashSet<_> = Corruption::ALL.into_iter().collect();
    assert_eq!((distinct.len(), &Corruption::ALL[..15]), (19, &Corruption::BENCHMARK[..]));
    let error = "gausian_noise".parse::<Corruption>().unwrap_err().to_string();
    assert!(error.contains("did you mean `gaussian_noise`") && error.contains("saturate"), "{error}");
    assert!(!"zzz".parse::<Corruption>().unwrap_err().to_string().contains("did you mean"));
    assert_eq!(Severity::new(4).unwrap(), Severity::ALL[3]);
    for level in [0, 6, 255] {
        let error = Severity::new(level).unwrap_err().to_string();
        assert!(error.contains(&level.to_string()), "{error}");
    }
}

#[test]
fn unfit_images_and_fields_are_errors() {
    let (image, severity) = (picture(40, 36, 3), Severity::ALL[1]);
    let draw =
        |corruption, image: &Image| Fields::draw(corruption, severity, image, Frost::synthetic(), Stream::new(1));
    let other = picture(40, 35, 3);
    for corruption in Corruption::ALL {
        let unfit = match draw(corruption, &other) {
            Fields::None | Fields::Angle(_) | Fields::Frost { .. } => Fields::Normal(vec![0.0; 5]),
            // A map of the next power of two.
            Fields::Uniform(_) if corruption == Corruption::Fog => draw(corruption, &picture(40, 65, 3)),
            fields => fields,
        };
        let error = corruption.apply(&image, severity, &unfit).unwrap_err().to_string();
        assert!(error.contains(corruption.name()) && error.contains("needs"), "{error}");
    }
    let Fields::Offsets(mut offsets) = draw(Corruption::GlassBlur, &image) else { panic!("offsets") };
    offsets[7] = [2, 0];
    assert!(Corruption::GlassBlur.apply(&image, severity, &Fields::Offsets(offsets)).is_err());
    let texture = Frost::synthetic().texture(0);
    for (top, left) in [(1.0, 0.0), (0.0, -0.1), (f64::NAN, 0.0)] {
        let fields = Fields::Frost { texture: texture.clone(), top, left };
        assert!(Corruption::Frost.apply(&image, severity, &fields).is_err());
    }
    // Displacements and angles without bound or meaning give some image.
    for wild in [f64::NAN, f64::INFINITY, -1e300] {
        let wild = Fields::Displacement { dx: vec![wild; 40 * 36], dy: vec![wild; 40 * 36] };
        assert!(Corruption::ElasticTransform.apply(&image, severity, &wild).is_ok());
    }
    for angle in [f64::NAN, f64::INFINITY, 1e300] {
        assert!(Corruption::MotionBlur.apply(&image, severity, &Fields::Angle(angle)).is_ok());
    }
    let small = Image::new("small", 31, 64, 1, Samples::U8(vec![0; 31 * 64])).unwrap();
    let error = Corruption::Contrast.apply(&small, severity, &Fields::None).unwrap_err().to_string();
    assert!(error.contains("32x32"), "{error}");
}

#[test]
fn deeper_images_are_rounded_to_8_bits_first() {
    for channels in [1, 3, 4] {
        let count = 32 * 33 * channels;
        let deep: Vec<u16> = (0..count).map(|i| ((i * 2_654_435_761) >> 7) as u16).collect();
        // Rounding to nearest: 65535 is 255, so a level of 8 bits is 257 of 16.
        let rounded: Vec<u8> = deep.iter().map(|&x| (f64::from(x) / 257.0).round() as u8).collect();
        let of = |samples| Image::new("deep", 32, 33, channels, samples).unwrap();
        let float: Vec<f32> = deep.iter().map(|&x| f32::from(x) / 65535.0).collect();
        let shallow = of(Samples::U8(rounded));
        for corruption in [Corruption::GaussianNoise, Corruption::Contrast, Corruption::JpegCompression] {
            let expected = replay(corruption, Severity::ALL[2], &shallow, Frost::synthetic());
            for image in [of(Samples::U16(deep.clone())), of(Samples::F32(float.clone()))] {
                assert!(replay(corruption, Severity::ALL[2], &image, Frost::synthetic()) == expected, "{corruption}");
            }
        }
    }
}
