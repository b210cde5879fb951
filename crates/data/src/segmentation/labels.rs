//! Label files: PNGs whose pixel values are (or map to) class indices.
//!
//! The value of a pixel is the stored number: the index into the palette of a palette PNG (as Pillow's mode P), the
//! grey value of a grey PNG of any depth (1, 2 and 4 bits are not stretched to 255). An alpha channel beside grey is
//! passed over. Colour pictures are refused: which class a colour means is not in the file.

use crate::image::Samples;
use crate::{DataConfig, DataError, Mask, decode};
use std::path::Path;

/// From the values of label files to class indices.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelMap {
    /// Class of each value, [`Mask::IGNORED`], or none.
    table: Vec<Option<u8>>,
    classes: usize,
    origin: Origin,
}

/// Where a map comes from, which decides what can be done about a value without a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The recipe gives no map: values are indices.
    Indices,
    /// The recipe's `label_map`.
    Recipe,
    /// The data set's own labels, in words; the recipe has no say.
    Fixed(&'static str),
}

impl LabelMap {
    /// Values are class indices below `classes`; `ignored` does not count, any other value is an error.
    pub fn plain(classes: usize, ignored: Option<u16>) -> Self {
        let class = |value: u16| (usize::from(value) < classes).then_some(value as u8);
        let table = (0..=u16::MAX).map(class).collect();
        let map = Self { table, classes, origin: Origin::Indices };
        map.with(ignored.map(|value| (value, Mask::IGNORED)))
    }

    /// The named values are classes, all others do not count.
    pub fn only(pairs: &[(u16, u8)], classes: usize) -> Self {
        let table = vec![Some(Mask::IGNORED); 1 << 16];
        Self { table, classes, origin: Origin::Recipe }.with(pairs.iter().copied())
    }

    /// The same as that of a data set whose labels are what `words` say and nothing else.
    pub(super) fn fixed(self, words: &'static str) -> Self {
        Self { origin: Origin::Fixed(words), ..self }
    }

    /// What `ignore_label` and `label_map` of a recipe with the classes `names` say.
    ///
    /// # Errors
    /// A key of `label_map` that is neither a number up to 65535 nor `*`, a class index that is not below the number of
    /// classes, an `ignore_label` that is a class too.
    pub fn of_config(config: &DataConfig, names: &[String]) -> Result<Self, DataError> {
        let (classes, ignored) = (names.len(), config.ignore_label.unwrap_or(u16::from(Mask::IGNORED)));
        let Some(given) = &config.label_map else {
            return match names.get(usize::from(ignored)) {
                None => Ok(Self::plain(classes, Some(ignored))),
                Some(name) => Err(two_meanings(ignored, name)),
            };
        };
        let table = vec![given.get("*").copied(); 1 << 16];
        let mut pairs = vec![(ignored, Mask::IGNORED)];
        for (key, &class) in given {
            if usize::from(class) >= classes && class != Mask::IGNORED {
                let reason = format!("\"{key}\" = {class}, but there are {classes} classes (from 0; 255: ignored)");
                return Err(DataError::config("label_map", reason));
            }
            match key.parse::<u16>() {
                Ok(value) if config.ignore_label == Some(value) && class != Mask::IGNORED => {
                    let reason = format!("\"{key}\" = {class}, but ignore_label = {value} says that it does not count");
                    return Err(DataError::config("label_map", reason));
                }
                Ok(value) => pairs.push((value, class)),
                Err(_) if key == "*" => {}
                Err(_) => {
                    let reason =
                        format!("\"{key}\" is no label value: write a number from 0 to 65535, or \"*\" for all others");
                    return Err(DataError::config("label_map", reason));
                }
            }
        }
        Ok(Self { table, classes, origin: Origin::Recipe }.with(pairs))
    }

    fn with(mut self, pairs: impl IntoIterator<Item = (u16, u8)>) -> Self {
        pairs.into_iter().for_each(|(value, class)| self.table[usize::from(value)] = Some(class));
        self
    }

    /// The class index of `value` or [`Mask::IGNORED`]; `None` for a value that must not occur.
    pub fn class(&self, value: u16) -> Option<u8> {
        self.table[usize::from(value)]
    }

    /// Reads a label file.
    ///
    /// # Errors
    /// A file that does not decode ([`DataError::Image`]); a colour picture, no PNG, or a value without a class
    /// ([`DataError::Label`]), which says where it lies.
    pub fn read(&self, path: &Path) -> Result<Mask, DataError> {
        let bytes = std::fs::read(path).map_err(|e| DataError::image(path.display(), e))?;
        let (width, height, values) = values(&bytes, path)?;
        let mut labels = Vec::with_capacity(values.len());
        for (place, value) in values.into_iter().enumerate() {
            match self.class(value) {
                Some(class) => labels.push(class),
                None => return Err(self.refuse(path, value, place % width, place / width)),
            }
        }
        Mask::new(&path.display().to_string(), width, height, labels)
    }

    fn refuse(&self, path: &Path, value: u16, x: usize, y: usize) -> DataError {
        let large = if value > 255 { " (a 16-bit file; is it one of instance ids?)" } else { "" };
        let remedy = match self.origin {
            Origin::Indices => format!(
                "there are {} classes (labels 0 to {}): give all classes, or name the value under [data] as \
                 `ignore_label` or in `label_map`",
                self.classes,
                self.classes.saturating_sub(1)
            ),
            Origin::Recipe => format!(
                "`label_map` under [data] has no entry for it: add \"{value}\" with its class, \"{value}\" = 255 to \
                 ignore it, or \"*\" = 255 to ignore all values that are not named"
            ),
            Origin::Fixed(words) => format!(
                "the labels of this data set are {words}: replace the file; label files of another numbering are read \
                 with dataset = \"masks\" and `label_map`"
            ),
        };
        DataError::label(path, format!("the pixel at column {x}, row {y} has the label {value}{large}, but {remedy}"))
    }
}

/// The error for a value that is both ignored and the class `name`.
fn two_meanings(value: u16, name: &str) -> DataError {
    let reason = format!(
        "{value} is the class \"{name}\" too, since label values are class indices where there is no `label_map`: take \
         that name out of the classes and give a `label_map` for the others, such as {{ \"{}\" = 0 }}, or ignore a \
         value that is no class",
        u32::from(value) + 1
    );
    DataError::config("ignore_label", reason)
}

/// Width, height and stored values of a PNG.
fn values(bytes: &[u8], path: &Path) -> Result<(usize, usize, Vec<u16>), DataError> {
    let name = path.display().to_string();
    let grey = png::as_grey(bytes);
    let image = decode::decode(grey.as_deref().unwrap_or(bytes), &name)?;
    let Some(header) = png::Header::of(bytes) else {
        return Err(DataError::label(path, "it is no PNG, and other formats change labels: write it again as PNG"));
    };
    if image.channels() != 1 {
        let reason = "it is a colour picture; what is needed is a grey or palette PNG whose values are class indices";
        return Err(DataError::label(path, reason));
    }
    let values = match image.samples() {
        // Low depths were stretched to 0..=255 by the decoder.
        Samples::U8(v) if header.depth < 8 => {
            let step = 255 / ((1 << header.depth) - 1);
            v.iter().map(|&x| u16::from(x) / step).collect()
        }
        Samples::U8(v) => v.iter().copied().map(u16::from).collect(),
        Samples::U16(v) => v.clone(),
        Samples::F32(_) => return Err(DataError::label(path, "it holds floating-point values")),
    };
    Ok((image.width(), image.height(), values))
}

/// The few facts about PNG (ISO/IEC 15948) that the decoder hides: it gives a palette's colours, not its indices.
mod png {
    /// Chunks begin after this.
    const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

    /// From the IHDR chunk.
    pub struct Header {
        /// Bits of a value.
        pub depth: u8,
        /// 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha.
        colour: u8,
    }

    impl Header {
        /// The header of a file that begins as a PNG does.
        pub fn of(bytes: &[u8]) -> Option<Self> {
            let body = bytes.strip_prefix(&SIGNATURE)?;
            let header = body.get(4..8).filter(|kind| *kind == b"IHDR").and(body.get(8..21))?;
            Some(Self { depth: header[8], colour: header[9] })
        }
    }

    /// The file with its palette taken away, so that its indices are grey values; `None` where it has no palette.
    ///
    /// Pixels of a palette PNG are packed and filtered exactly as those of a grey PNG of the same depth, so only the
    /// colour type in the header changes (and its checksum), and the chunks that explain the palette go.
    pub fn as_grey(bytes: &[u8]) -> Option<Vec<u8>> {
        Header::of(bytes).filter(|header| header.colour == 3)?;
        let mut out = SIGNATURE.to_vec();
        let mut rest = &bytes[SIGNATURE.len()..];
        // A chunk: length, kind, that many bytes, checksum of kind and bytes. What is cut off the decoder reports.
        while let Some(length) = rest.first_chunk::<4>().map(|l| u32::from_be_bytes(*l) as usize) {
            let Some((chunk, after)) = length.checked_add(12).and_then(|n| rest.split_at_checked(n)) else { break };
            match &chunk[4..8] {
                b"IHDR" if length == 13 => {
                    let mut header = chunk.to_vec();
                    header[17] = 0;
                    let mut sum = flate2::Crc::new();
                    sum.update(&header[4..length + 8]);
                    header[length + 8..].copy_from_slice(&sum.sum().to_be_bytes());
                    out.extend(header);
                }
                b"PLTE" | b"tRNS" | b"bKGD" | b"hIST" | b"sBIT" | b"sPLT" => {}
                _ => out.extend(chunk),
            }
            rest = after;
        }
        out.extend(rest);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Values of a fixture; see fixtures/make_labels.py.
    fn fixture(name: &str) -> Vec<u16> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        let (width, height, values) = values(&std::fs::read(&path).unwrap(), &path).unwrap();
        assert_eq!((width, height), (5, 3));
        values
    }

    #[test]
    fn stored_values_are_read_at_every_depth() {
        let expected = |n: u16| (0..15).map(|i| (3 * (i % 5) + 5 * (i / 5) + 1) % n).collect::<Vec<u16>>();
        for depth in [1, 2, 4, 8] {
            assert_eq!(fixture(&format!("labels_palette_{depth}.png")), expected(1 << depth), "palette {depth}");
            assert_eq!(fixture(&format!("labels_grey_{depth}.png")), expected(1 << depth), "grey {depth}");
        }
        assert_eq!(fixture("labels_grey_16.png"), expected(300));
    }

    #[test]
    fn damaged_palette_files_are_errors() {
        let bytes = include_bytes!("../../fixtures/labels_palette_4.png");
        let path = Path::new("cut.png");
        for end in 0..bytes.len() - 12 {
            // A decoder may do without the last checksum.
            assert!(values(&bytes[..end], path).is_err() || end + 24 > bytes.len(), "{end}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x55;
            let _no_panic = values(&damaged, path);
        }
    }

    #[test]
    fn maps_name_classes_ignored_and_refused_values() {
        let plain = LabelMap::plain(3, Some(255));
        assert_eq!([0, 2, 3, 255, 300].map(|v| plain.class(v)), [Some(0), Some(2), None, Some(255), None]);
        let none = LabelMap::plain(3, None);
        assert_eq!(none.class(255), None);
        let config = |pairs: &[(&str, u8)], ignore_label| {
            let map: BTreeMap<String, u8> = pairs.iter().map(|(k, v)| (k.to_string(), *v)).collect();
            DataConfig { label_map: Some(map), ignore_label, ..DataConfig::new(crate::DatasetKind::Masks) }
        };
        let names = ["a", "b"].map(String::from);
        let of = |config: &DataConfig| LabelMap::of_config(config, &names);
        let map = of(&config(&[("7", 0), ("8", 1), ("1000", 1)], None)).unwrap();
        assert_eq!([7, 8, 1000, 0, 255, 999].map(|v| map.class(v)), [Some(0), Some(1), Some(1), None, Some(255), None]);
        let map = of(&config(&[("7", 0), ("*", 255), ("9", 1)], Some(3))).unwrap();
        assert_eq!([7, 9, 3, 0, 60000].map(|v| map.class(v)), [Some(0), Some(1), Some(255), Some(255), Some(255)]);
        for (pairs, words) in [([("7", 2)], "2 classes"), ([("seven", 0)], "seven"), ([("70000", 0)], "70000")] {
            let error = of(&config(&pairs, None)).unwrap_err().to_string();
            assert!(error.contains("label_map") && error.contains(words), "{error}");
        }
        let config = DataConfig { ignore_label: Some(1000), ..DataConfig::new(crate::DatasetKind::Masks) };
        let map = of(&config).unwrap();
        assert_eq!([0, 1, 2, 255, 1000].map(|v| map.class(v)), [Some(0), Some(1), None, None, Some(255)]);
    }

    #[test]
    fn an_ignored_value_is_no_class() {
        let names = ["a", "b"].map(String::from);
        let masks = |ignore_label| DataConfig { ignore_label, ..DataConfig::new(crate::DatasetKind::Masks) };
        let error = LabelMap::of_config(&masks(Some(1)), &names).unwrap_err().to_string();
        assert!(error.contains("ignore_label") && error.contains("\"b\"") && error.contains("label_map"), "{error}");
        let map = |class| Some([("1".to_string(), class), ("*".to_string(), 0)].into_iter().collect());
        let both = |class, ignore| DataConfig { label_map: map(class), ..masks(ignore) };
        let error = LabelMap::of_config(&both(0, Some(1)), &names).unwrap_err().to_string();
        assert!(error.contains("label_map") && error.contains("ignore_label = 1"), "{error}");
        for (class, ignore, found) in [(255, Some(1), 255), (0, None, 0), (0, Some(2), 0)] {
            assert_eq!(LabelMap::of_config(&both(class, ignore), &names).unwrap().class(1), Some(found));
        }
        // 255 is ignored without being named, and may be named as a class.
        let map = Some([("255".to_string(), 1)].into_iter().collect());
        let map = LabelMap::of_config(&DataConfig { label_map: map, ..masks(None) }, &names).unwrap();
        assert_eq!((map.class(255), map.class(0)), (Some(1), None));
    }

    #[test]
    fn what_to_do_about_a_value_depends_on_the_map() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("label.png");
        ::image::GrayImage::from_pixel(2, 1, ::image::Luma([12])).save(&file).unwrap();
        let recipe = DataConfig {
            label_map: Some([("7".to_string(), 0)].into_iter().collect()),
            ..DataConfig::new(crate::DatasetKind::Masks)
        };
        let camvid = crate::DatasetKind::Camvid.label_map().unwrap();
        for (map, words, not) in [
            (LabelMap::plain(3, None), "`ignore_label`", "no entry"),
            (LabelMap::of_config(&recipe, &["a".into()]).unwrap(), "\"12\" = 255", "`ignore_label`"),
            (camvid, "0 to 10, and 11 for void", "`ignore_label`"),
        ] {
            let error = map.read(&file).unwrap_err().to_string();
            assert!(error.contains("column 0, row 0") && error.contains("label 12"), "{error}");
            assert!(error.contains(words) && !error.contains(not), "{error}");
        }
    }
}
