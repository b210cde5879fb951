//! Conventions of counting segmentations, by name.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use subband_names::hint;

use crate::cityscapes;

/// How the confusion matrix of a segmentation becomes figures. Below, `n[t][p]` counts the pixels of class `t`
/// predicted as `p`; a prediction outside the classes is in the row's total and in no column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Protocol {
    /// Every class counts; one without a truth or predicted pixel is left out of the means.
    #[default]
    Standard,
    /// The official evaluation of Cityscapes on its 19 classes: as [`Protocol::Standard`] (the label files' void labels
    /// are the ignored label, void predictions lie outside the classes), with the IoU of the categories beside it.
    Cityscapes,
    /// The code published with MFNet (Ha et al., IROS 2017), 9 classes with 0 unlabelled: the row and the column of the
    /// unlabelled pixels do not enter the IoU of the others, and the means are over 9 with a zero for the unlabelled
    /// class and for absent ones. What that code calls the accuracy of a class is its precision; here `accuracy` is
    /// the recall as everywhere.
    MfnetRepository,
    /// The code published with RTFNet (Sun et al., RA-L 2019), which papers on MFNet's images quote: the unlabelled
    /// class counts as any other, the means are over 9, and an absent class counts as zero.
    MfnetRtfnet,
    /// The 8 classes of MFNet's images without the unlabelled one; pixels confused with it are errors, and absent
    /// classes are left out of the means.
    MfnetForeground,
}

/// What the figures of a protocol depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The first class that counts.
    pub first: usize,
    /// The first class whose pixels enter the IoU of others.
    pub inner: usize,
    /// What the means are divided by: the evaluated classes that are present, or this number with zeros for the rest.
    pub divisor: Option<usize>,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 5] =
        [Self::Standard, Self::Cityscapes, Self::MfnetRepository, Self::MfnetRtfnet, Self::MfnetForeground];

    /// The name in recipes and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Cityscapes => "cityscapes",
            Self::MfnetRepository => "mfnet-repository",
            Self::MfnetRtfnet => "mfnet-rtfnet",
            Self::MfnetForeground => "mfnet-foreground",
        }
    }

    /// The number of classes that the protocol is made for; `None` for any.
    pub const fn classes(self) -> Option<usize> {
        match self {
            Self::Standard => None,
            Self::Cityscapes => Some(cityscapes::CLASSES),
            Self::MfnetRepository | Self::MfnetRtfnet | Self::MfnetForeground => Some(9),
        }
    }

    pub(crate) const fn rules(self) -> Rules {
        match self {
            Self::Standard | Self::Cityscapes => Rules { first: 0, inner: 0, divisor: None },
            Self::MfnetRepository => Rules { first: 1, inner: 1, divisor: Some(9) },
            Self::MfnetRtfnet => Rules { first: 0, inner: 0, divisor: Some(9) },
            Self::MfnetForeground => Rules { first: 1, inner: 0, divisor: None },
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = String;

    /// The protocol of a name; the error for an unknown one offers the nearest and lists all.
    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let guess = hint(name, names);
            format!("no segmentation protocol is called `{name}`{guess}; there are {}", names.join(", "))
        })
    }
}

impl TryFrom<String> for Protocol {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> Self {
        protocol.name().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_slips_are_corrected() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
        let error = Protocol::try_from("mfnet-rtfent".to_string()).unwrap_err();
        assert!(error.contains("`mfnet-rtfent` (did you mean `mfnet-rtfnet`?)"), "{error}");
        let error = "coco".parse::<Protocol>().unwrap_err();
        assert!(!error.contains("did you mean") && error.contains("mfnet-foreground"), "{error}");
    }
}
