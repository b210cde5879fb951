//! Which ways a shape goes through the kernels, by their own predicates: the tests count them, so that no way and no
//! size of tile is left out unseen.
use std::collections::BTreeMap;

use super::super::blocks::Blocks;
use super::super::strip::{Cut, Source, Strip, Task};
use super::super::*;
use crate::product::{Panel, even, in_parts};

/// How many shapes took each way.
#[derive(Default)]
pub(super) struct Counts(BTreeMap<String, usize>);

impl Counts {
    pub fn add(&mut self, path: impl Into<String>) {
        *self.0.entry(path.into()).or_default() += 1;
    }

    pub fn merge(mut self, other: Self) -> Self {
        other.0.into_iter().for_each(|(path, count)| *self.0.entry(path).or_default() += count);
        self
    }

    /// Panics unless at least `least` shapes took this way.
    pub fn expect(&self, path: &str, least: usize) {
        let count = self.0.get(path).copied().unwrap_or(0);
        assert!(count >= least, "only {count} shapes took {path:?}; all: {:#?}", self.0);
    }
}

/// Every way that all instruction sets share.
pub(super) const WAYS: [&str; 21] = [
    "pointwise",
    "depthwise",
    "y: padded copy",
    "y: source in place",
    "y: images together",
    "y: strips of rows",
    "y: tasks share a strip",
    "y: around the padding",
    "dX: around the padding",
    "dX: padded copy",
    "dX: source in place",
    "dX: several phases",
    "dX: phase without taps",
    "depth in one chunk",
    "runs together in chunks",
    "run cut into chunks",
    "dilated row",
    "several groups",
    "dW: parts, plain strip",
    "dW: parts, blocks of channels",
    "dW: large, blocks of channels",
];

/// Those that only shapes of real networks are large enough for, and how many of them take each.
pub(super) const LARGE_WAYS: [(&str, usize); 7] = [
    ("y: Winograd", 8),
    ("dX: Winograd", 8),
    ("y: Winograd, channels in blocks", 1),
    ("dX: Winograd, channels in blocks", 1),
    ("dW: Winograd", 4),
    ("dW: Winograd, tiles in pieces", 1),
    ("pointwise dW in parts", 1),
];

/// The ways of `g` with the kernels of `product`.
pub(super) fn taken(product: &Product, g: &ConvGeometry) -> Counts {
    let mut to = Counts::default();
    if is_depthwise(g) {
        to.add("depthwise");
    } else if is_pointwise(g) {
        to.add("pointwise");
        let pixels = g.pixels_out();
        if in_parts(pixels, g.channels_out, g.channels_in) {
            to.add("pointwise dW in parts");
        }
        for (columns, rows) in [(g.channels_out, pixels), (g.channels_in, pixels)] {
            for panel in Panel::cut(product, columns, 0) {
                for q in even(rows.min(192), product.pixels(1, panel.vectors)) {
                    tile(&mut to, product, "along 1", panel, q.1);
                }
            }
        }
    } else {
        forward_ways(&mut to, product, g);
        for c in &Correlation::input_gradient(g) {
            gradient_ways(&mut to, product, g, c);
        }
        weight_ways(&mut to, product, g);
    }
    to
}

fn tile(to: &mut Counts, product: &Product, form: &str, panel: Panel, q: usize) {
    to.add(format!("{} {form} x {q} x {}", product.name, panel.vectors));
}

fn forward_ways(to: &mut Counts, product: &Product, g: &ConvGeometry) {
    let c = Correlation::forward(g);
    if g.groups > 1 {
        to.add("several groups");
    }
    if g.dilation[1] > 1 && g.kernel[1] > 1 {
        to.add("dilated row");
    }
    correlation(to, product, &c, (g, g.input, g.group_in(), g.group_out()), "y");
}

fn gradient_ways(to: &mut Counts, product: &Product, g: &ConvGeometry, c: &Correlation) {
    if g.stride != [1, 1] {
        to.add("dX: several phases");
    }
    if c.taps.is_empty() {
        to.add("dX: phase without taps");
    } else {
        correlation(to, product, c, (g, g.output, g.group_out(), g.group_in()), "dX");
    }
}

/// The ways of one correlation over maps of `size` with `from` channels in and `outputs` out of a group.
fn correlation(
    to: &mut Counts,
    product: &Product,
    c: &Correlation,
    (g, size, from, outputs): (&ConvGeometry, [usize; 2], usize, usize),
    what: &str,
) {
    if g.groups == 1 && winograd::applies(c, g.batch, [from, outputs]) {
        if winograd::blocks(from).count() > 1 || winograd::blocks(outputs).count() > 1 {
            to.add(format!("{what}: Winograd, channels in blocks"));
        }
        return to.add(format!("{what}: Winograd"));
    }
    if around::applies(c) {
        return to.add(format!("{what}: around the padding"));
    }
    let channels = from * g.groups;
    let data = vec![0.0; g.batch * size[0] * size[1] * channels];
    let source = Source { data: &data, images: g.batch, size, channels, group: (0, from) };
    let cut = Cut::new(c, &source);
    let (task, mut room) = (cut.task(0), Vec::new());
    let strip = Strip::new(c, source, task, &mut room);
    let in_place = std::ptr::eq(strip.data.as_ptr(), data.as_ptr());
    to.add(format!("{what}: {}", if in_place { "source in place" } else { "padded copy" }));
    if task.count > 1 {
        to.add(format!("{what}: images together"));
    }
    if task.rows < c.size[0] {
        to.add(format!("{what}: strips of rows"));
    }
    let panels = Panel::cut(product, outputs, 0);
    if cut.tasks() < 8 && panels.len() > 1 {
        to.add(format!("{what}: tasks share a strip"));
    }
    for &panel in &panels {
        depth(to, c, &strip, from, panel.chunk());
        let pair = product.pixels(2, panel.vectors);
        let two = c.size[1] <= pair;
        for (_, q) in even(c.size[1], if two { pair } else { product.pixels(1, panel.vectors) }) {
            if two && task.rows > 1 {
                tile(to, product, "along 2", panel, q);
            }
            if !two || task.rows % 2 == 1 {
                tile(to, product, "along 1", panel, q);
            }
        }
    }
}

/// How the depth of a correlation is cut: runs of floats that follow each other, against the most of a chunk.
fn depth(to: &mut Counts, c: &Correlation, strip: &Strip<'_>, channels: usize, most: usize) {
    let follows = |pair: &[(usize, usize, usize)]| pair[0].0 == pair[1].0 && pair[0].1 + 1 == pair[1].1;
    let joined = if strip.pixel == channels { c.taps.windows(2).filter(|pair| follows(pair)).count() } else { 0 };
    let runs = c.taps.len() - joined;
    let total = c.taps.len() * channels;
    to.add(match () {
        () if total <= most => "depth in one chunk",
        () if total / runs > most => "run cut into chunks",
        () => "runs together in chunks",
    });
}

fn weight_ways(to: &mut Counts, product: &Product, g: &ConvGeometry) {
    let c = Correlation::forward(g);
    if winograd::weights::applies_to_weights(g) {
        if Panel::cut(product, g.channels_out, 0).iter().any(|p| winograd::tiles_of(&c, g.batch) > p.chunk()) {
            to.add("dW: Winograd, tiles in pieces");
        }
        return to.add("dW: Winograd");
    }
    let source = Source {
        data: &vec![0.0; g.batch * g.input[0] * g.input[1] * g.channels_in],
        images: g.batch,
        size: g.input,
        channels: g.channels_in,
        group: (0, g.group_in()),
    };
    let task = Task { first: 0, count: 1, row: 0, rows: 1 };
    let mut room = Vec::new();
    let blocks = Blocks::new(&c, source, task, &mut room, false);
    let in_blocks = g.group_in() >= 32 && blocks.pixel == 8;
    let floats = g.group_in() * g.kernel[0] * g.kernel[1] * g.group_out().next_multiple_of(16);
    let size = if floats <= 64 * 1024 { "parts" } else { "large" };
    to.add(format!("dW: {size}, {}", if in_blocks { "blocks of channels" } else { "plain strip" }));
    for panel in Panel::cut(product, g.group_out(), 0) {
        for block in blocks.list(product, &panel) {
            tile(to, product, "across", panel, block.q);
        }
    }
}

/// Panics unless each way and each size of tile of every instruction set was taken.
pub(super) fn expect_all(counts: &Counts) {
    WAYS.iter().for_each(|way| counts.expect(way, 20));
    counts.expect("dW: large, plain strip", 20);
    for product in Product::available() {
        for v in 1..=product.vectors() {
            let name = product.name;
            (1..=product.pixels(1, v)).for_each(|q| counts.expect(&format!("{name} along 1 x {q} x {v}"), 5));
            (1..=product.pixels(2, v)).for_each(|q| counts.expect(&format!("{name} along 2 x {q} x {v}"), 5));
            (1..=product.pixels_across(v)).for_each(|q| counts.expect(&format!("{name} across x {q} x {v}"), 5));
        }
    }
}
