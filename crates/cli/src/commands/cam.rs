//! `subband cam`.
use subband_data::{Image, encode};
use subband_models::Cam;
use subband_train::files;
use subband_train::pictures::{Picture, Predictor, heat_strip, shares};

use super::images::{self, check_alpha, each, write};
use super::trained;
use crate::args::CamArgs;
use crate::device;
use crate::failure::Failure;

/// Draws class-activation maps over images.
pub fn cam(args: &CamArgs) -> Result<(), Failure> {
    check_alpha(args.alpha)?;
    let device = device::open(&args.compute)?;
    let found = images::find(&args.images)?;
    let method: Cam = args.method.parse()?;
    let network = trained::open(&args.trained, &device)?;
    let class = args.class.as_deref().map(|class| class_of(&network, class)).transpose()?;
    let middle = class.map(|class| format!("-{}", file_part(&name_of(&network, class)))).unwrap_or_default();
    let tap = args.tap.as_deref().map(|tap| format!("-{}", file_part(tap))).unwrap_or_default();
    let outputs = images::outputs(&found, &args.out, &[format!("{middle}{tap}-{method}.png")], args.force)?;
    files::create_folder(&args.out)?;
    each(&found, &network, |place, name, image| {
        let tap = match &args.tap {
            Some(tap) => tap.clone(),
            None => network.usual_tap(method, name, image)?.ok_or_else(|| {
                Failure::usage(
                    format!("`{}` has no stages", network.network_name()),
                    "choose a tap with --tap; `subband taps NETWORK` lists them",
                )
            })?,
        };
        let (class, mask) = target(&network, name, image, class)?;
        let heat = network.heat(name, image, (method, &tap), class, mask.as_deref())?;
        let picture = Picture { width: image.width(), height: image.height(), rgb: image.to_rgb8() };
        let class = name_of(&network, class);
        let strip = heat_strip(image.width(), &format!("{class}, {tap}, {method}"));
        let picture = picture.with_heat(&heat, args.alpha).above(&strip);
        write(&outputs[place][0], &encode::rgb_png(picture.width, picture.height, &picture.rgb)?)?;
        let pixels = match (network.is_segmenter(), &mask) {
            (true, None) => "  (not predicted in this image: explained on all pixels)",
            _ => "",
        };
        Ok(format!("{}  {class} at {tap}{pixels}\n", outputs[place][0].display()))
    })
}

/// The class to explain, and of a segmenter the pixels that it gives to the class, if there are some.
fn target(
    network: &Predictor,
    name: &str,
    image: &Image,
    class: Option<usize>,
) -> Result<(usize, Option<Vec<bool>>), Failure> {
    if !network.is_segmenter() {
        if let Some(class) = class {
            return Ok((class, None));
        }
        let probabilities = network.probabilities(name, image)?;
        let best = (0..probabilities.len()).fold(0, |a, b| if probabilities[b] > probabilities[a] { b } else { a });
        return Ok((best, None));
    }
    let labels = network.labels(name, image)?;
    let class = class.or_else(|| shares(&labels).first().map(|(class, _)| usize::from(*class))).unwrap_or(0);
    let mask: Vec<bool> = labels.iter().map(|label| usize::from(*label) == class).collect();
    Ok((class, mask.contains(&true).then_some(mask)))
}

/// A class by its name or its index.
fn class_of(network: &Predictor, text: &str) -> Result<usize, Failure> {
    let classes = network.classes();
    let named = classes.iter().position(|name| name == text);
    let index = || text.parse::<usize>().ok().filter(|index| *index < classes.len());
    named.or_else(index).ok_or_else(|| {
        let mut known = classes.iter().take(40).cloned().collect::<Vec<_>>().join(", ");
        if classes.len() > 40 {
            known += ", ...";
        }
        Failure::usage(format!("--class {text}: the network has no such class"), format!("it has {known}"))
    })
}

fn name_of(network: &Predictor, class: usize) -> String {
    network.classes().get(class).cloned().unwrap_or_else(|| format!("class {class}"))
}

/// A name as a part of a file's: letters, digits and dots, everything else a dash.
fn file_part(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect()
}
