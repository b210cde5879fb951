//! The section about learned frequency prompts: what learning them changed, and their masks over images.
use std::fmt::Write;

use super::png::data_uri;
use super::text::{duration, escape, grouped, loss};
use crate::evidence::prompts::{MaskPictures, PictureImage, PromptResult, TapMasks};
use crate::pictures::viridis;

/// Height and width of the largest photo that is drawn; a larger one is thinned out.
const SIDE: usize = 160;

/// The section, without the curves of the learning; empty where a run has no prompts.
pub(super) fn section(result: Option<&PromptResult>, pictures: Option<&MaskPictures>, curves: &str) -> String {
    if result.is_none() && pictures.is_none() && curves.is_empty() {
        return String::new();
    }
    let mut html = String::from("<h2>Frequency prompts</h2>");
    if let Some(result) = result {
        html.push_str(&summary(result));
        html.push_str(&table(result));
    }
    if !curves.is_empty() {
        let _ = write!(html, "<div class=\"multiples\">{curves}</div>");
    }
    if let Some(pictures) = pictures {
        html.push_str(&figures(pictures));
    }
    html
}

fn summary(result: &PromptResult) -> String {
    format!(
        "<p>{params} numbers were learned inside the frozen teacher in {steps} steps ({time}). Without prompts it has \
         <b>{before}</b> on the test images, and with its bands masked by the learned prompts <b>{after}</b>. With prompts of 0 \
         its logits differ by {zero} of the largest one{why}; with fresh prompts, drawn around 0, their \
         root mean square changes by {difference} of itself ({start}). The distillation uses the masks, and the teacher without prompts.</p>",
        params = grouped(result.params as f64),
        steps = grouped(result.steps as f64),
        time = duration(Some(result.seconds)),
        before = result.teacher.headline(),
        start = result.start.headline(),
        zero = loss(result.zero_difference),
        why = if result.tokens == 2 { ", which is rounding: two masks of 1/2 sum to 1" } else { "" },
        difference = loss(result.start_difference),
        after = result.end.headline(),
    )
}

fn table(result: &PromptResult) -> String {
    let mut html = String::from(
        "<div class=\"scroll\"><table><thead><tr><th>Tap</th><th>Channels</th><th>Sets of prompts</th><th>Prompts per set</th>\
         <th>Dissimilarity, fresh</th><th>Dissimilarity, learned</th></tr></thead><tbody>",
    );
    for tap in &result.taps {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&tap.tap),
            tap.channels,
            tap.sets.len(),
            result.tokens,
            loss(tap.dissimilarity_start),
            loss(tap.dissimilarity_end),
        );
    }
    html + "</tbody></table></div><p class=\"note\">The dissimilarity loss measures how alike the masks of one set are, on the \
            test images and summed over the sets: it falls as the prompts of a set turn to different places.</p>"
}

fn figures(pictures: &MaskPictures) -> String {
    let mut html = String::from(
        "<h3>Where the prompts look</h3><p class=\"note\">Each tile is one learned mask for one test image: bright where the \
         prompt lets the band through, dark where it holds it back. Colours run from the smallest to the largest mask value \
         of the tap.",
    );
    // A mask over frequencies has no place in the image.
    let places = matches!(pictures.transform.as_str(), "dwt" | "none");
    html.push_str(if places {
        " It is drawn over the image, one block for each of its values.</p>"
    } else {
        " Across and down are frequencies, low ones at the top left.</p>"
    });
    for (index, image) in pictures.images.iter().enumerate() {
        let (name, photo) = (format!("photo{index}"), photo(image));
        // Drawn once; every tile refers to it.
        let _ = write!(
            html,
            "<svg class=\"hidden\" aria-hidden=\"true\"><symbol id=\"{name}\" viewBox=\"0 0 100 100\" preserveAspectRatio=\"none\">\
             <image href=\"{photo}\" width=\"100\" height=\"100\" preserveAspectRatio=\"none\"/></symbol></svg>"
        );
        html.push_str("<div class=\"pictures\">");
        for tap in &pictures.taps {
            html.push_str(&figure(index, image, &name, tap, places));
        }
        html.push_str("</div>");
    }
    html
}

/// The masks of one tap over one image: a row for each set, a column for each prompt.
fn figure(index: usize, image: &PictureImage, photo: &str, tap: &TapMasks, places: bool) -> String {
    let all = || tap.sets.iter().filter_map(|set| set.values.get(index)).flatten().flatten().copied();
    let (low, high) = (all().fold(f32::INFINITY, f32::min), all().fold(f32::NEG_INFINITY, f32::max));
    let columns = tap.sets.iter().filter_map(|set| set.values.get(index)).map(Vec::len).max().unwrap_or(0);
    if columns == 0 || !low.is_finite() || !high.is_finite() {
        return String::new();
    }
    let shape = image.height as f64 / image.width.max(1) as f64;
    let mut html = format!(
        "<figure class=\"masks\"><h3>{tap}, image {number} ({label})</h3><div class=\"scroll\"><div class=\"tiles\" style=\"--columns:{columns}\">\
         <div class=\"corner\">{plain}<span>the image</span></div>",
        tap = escape(&tap.tap),
        number = image.index,
        label = escape(&image.label),
        plain = tile(Some(photo), "the image alone", shape, ""),
    );
    for prompt in 1..=columns {
        let _ = write!(html, "<div class=\"top\">prompt {prompt}</div>");
    }
    for set in &tap.sets {
        let _ = write!(html, "<div class=\"side\">{}</div>", words(&set.set));
        let masks = set.values.get(index).map(Vec::as_slice).unwrap_or_default();
        let size = set.sizes.get(index).copied().unwrap_or_default();
        for (prompt, mask) in masks.iter().enumerate() {
            let label = format!("mask of prompt {} on {}", prompt + 1, set.set);
            html.push_str(&tile(places.then_some(photo), &label, shape, &heat(size, mask, (low, high))));
        }
        html.push_str(&"<div></div>".repeat(columns - masks.len().min(columns)));
    }
    html.push_str("</div></div>");
    html.push_str(&bar(low, high));
    html + "</figure>"
}

/// The photo, if it is to be seen, with a layer over it.
pub(super) fn tile(photo: Option<&str>, label: &str, shape: f64, layer: &str) -> String {
    let height = format!("{:.2}", 100.0 * shape);
    let photo = photo.map(|name| format!("<use href=\"#{name}\" width=\"100\" height=\"{height}\"/>"));
    format!(
        "<svg class=\"tile{alone}\" viewBox=\"0 0 100 {height}\" role=\"img\" aria-label=\"{}\">{}{}</svg>",
        escape(label),
        photo.as_deref().unwrap_or(""),
        layer.replace("HEIGHT", &height),
        alone = if photo.is_some() { "" } else { " alone" },
    )
}

/// A mask in colours, one pixel for each of its values.
fn heat([height, width]: [usize; 2], mask: &[f32], (low, high): (f32, f32)) -> String {
    let share = |value: &f32| if high > low { f64::from((value - low) / (high - low)) } else { 0.5 };
    let pixels: Vec<u8> = mask.iter().flat_map(|value| viridis(share(value))).collect();
    if width == 0 || mask.len() != width * height {
        return String::new();
    }
    let uri = data_uri(width, height, 3, &pixels);
    format!("<image class=\"heat\" href=\"{uri}\" width=\"100\" height=\"HEIGHT\" preserveAspectRatio=\"none\"/>")
}

/// The colour scale with the values of its ends.
fn bar(low: f32, high: f32) -> String {
    const STEPS: usize = 64;
    let pixels: Vec<u8> = (0..STEPS).flat_map(|k| viridis(k as f64 / (STEPS - 1) as f64)).collect();
    let decimals = if high - low < 0.02 { 4 } else { 2 };
    format!(
        "<div class=\"scale\"><span>{low:.decimals$}</span><img alt=\"colour scale from the smallest to the largest mask value\" \
         src=\"{}\"><span>{high:.decimals$}</span><span>mask value</span></div>",
        data_uri(STEPS, 1, 3, &pixels)
    )
}

/// The image as a grey picture of at most [`SIDE`] pixels a side.
fn photo(image: &PictureImage) -> String {
    let step = image.height.max(image.width).div_ceil(SIDE).max(1);
    let (rows, columns) = (image.height.div_ceil(step), image.width.div_ceil(step));
    let at = |row: usize, column: usize| image.grey.get(row * step * image.width + column * step).copied().unwrap_or(0);
    let pixels: Vec<u8> = (0..rows).flat_map(|row| (0..columns).map(move |column| at(row, column))).collect();
    data_uri(columns, rows, 1, &pixels)
}

/// A set's name with what it holds, in plain words.
fn words(set: &str) -> String {
    let (kind, level) = set.split_at(set.find(|c: char| c.is_ascii_digit()).unwrap_or(set.len()));
    let block = match level.parse::<u32>() {
        Ok(level) if (1..16).contains(&level) => format!("{0}×{0} blocks", 1_u32 << level),
        _ => "blocks".to_string(),
    };
    let what = match kind.to_ascii_lowercase().as_str() {
        "ll" => format!("coarse content: means of {block}"),
        "level" => format!("details in all directions within {block}"),
        "lh" => format!("horizontal edges within {block}"),
        "hl" => format!("vertical edges within {block}"),
        "hh" => format!("diagonal details within {block}"),
        _ => String::new(),
    };
    let name = if kind == "level" { format!("Level {level}") } else { set.to_uppercase() };
    format!("<b>{}</b><br>{what}", escape(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::prompts::SetMasks;

    fn pictures() -> MaskPictures {
        let set = |name: &str, side: usize, start: f32| SetMasks {
            set: name.into(),
            sizes: vec![[side, side]],
            values: vec![(0..2).map(|t| (0..side * side).map(|k| start + 0.01 * (k + t) as f32).collect()).collect()],
        };
        let image = PictureImage { index: 4, label: "<seven>".into(), height: 6, width: 4, grey: vec![9; 24] };
        let sets = vec![set("ll3", 1, 0.4), set("level1", 3, 0.5), set("HL2", 2, 0.6)];
        MaskPictures {
            transform: "dwt".into(),
            images: vec![image],
            taps: vec![TapMasks { tap: "stage1".into(), sets }],
        }
    }

    #[test]
    fn every_mask_is_a_tile_with_its_band_in_words() {
        let html = section(None, Some(&pictures()), "");
        // Three sets of two prompts, and the image alone.
        assert_eq!(html.matches("class=\"tile\"").count(), 7);
        assert_eq!(html.matches("class=\"heat\"").count(), 6);
        for part in
            ["&lt;seven&gt;", "means of 8×8 blocks", "within 2×2 blocks", "vertical edges within 4×4", "0.40", "0.64"]
        {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("HEIGHT") && html.contains("viewBox=\"0 0 100 150.00\""));
        // The smallest value is the darkest colour, the largest the brightest.
        let uri = |share| data_uri(1, 1, 3, &viridis(share));
        assert!(html.contains(&uri(0.0)) && viridis(1.0) == [253, 231, 37]);
        // Masks over frequencies are drawn alone.
        let html = section(None, Some(&MaskPictures { transform: "dct".into(), ..pictures() }), "");
        assert!(html.matches("tile alone").count() == 6 && html.contains("are frequencies"));
        for tag in ["svg", "div", "figure", "symbol", "span"] {
            let open = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
            assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn images_of_other_sizes_have_masks_of_other_sizes() {
        let mut pictures = pictures();
        pictures.images.push(PictureImage { index: 7, label: "wide".into(), height: 3, width: 9, grey: vec![5; 27] });
        for set in &mut pictures.taps[0].sets {
            set.sizes.push([1, 3]);
            set.values.push(vec![vec![0.4, 0.5, 0.6]; 2]);
        }
        let html = section(None, Some(&pictures), "");
        assert_eq!(html.matches("class=\"heat\"").count(), 2 * 6);
        let text = serde_json::to_string(&pictures).unwrap();
        assert_eq!(serde_json::from_str::<MaskPictures>(&text).unwrap(), pictures);
        // The first versions had one size.
        let old = "{\"set\":\"ll3\",\"height\":1,\"width\":2,\"values\":[[[0.5,0.25]],[[0.5,0.75]]]}";
        assert_eq!(serde_json::from_str::<SetMasks>(old).unwrap().sizes, [[1, 2], [1, 2]]);
    }

    #[test]
    fn runs_without_prompts_have_no_section() {
        assert_eq!(section(None, None, ""), "");
    }

    #[test]
    fn equal_masks_and_damaged_ones_are_drawn_without_harm() {
        let mut pictures = pictures();
        for set in &mut pictures.taps[0].sets {
            set.values[0].iter_mut().flatten().for_each(|value| *value = 0.5);
        }
        pictures.taps[0].sets[1].values[0][0].pop();
        let html = section(None, Some(&pictures), "");
        assert_eq!(html.matches("class=\"heat\"").count(), 5);
        assert!(!html.contains("NaN"));
        pictures.taps[0].sets.iter_mut().for_each(|set| set.values.clear());
        assert!(!section(None, Some(&pictures), "").contains("<figure"));
    }
}
