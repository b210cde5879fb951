//! Single convolutions against the matrix-product peak, and their tables.
use serde::Serialize;
use subband_train::Table;

use super::cases::Case;
use super::request::{Convolution, ConvolutionTimes, KernelReading, KernelRequest, Repetition, Request, median};
use super::runner::{Runner, Side};
use crate::failure::Failure;

/// Sides of the square matrices.
const PRODUCTS: [usize; 2] = [1024, 2048];

/// All kernels of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Kernels {
    products: Vec<Product>,
    /// The best of the products in GFLOP/s.
    peak_gflops: f64,
    convolutions: Vec<Row>,
}

/// A product of two square matrices.
#[derive(Debug, Clone, Serialize)]
struct Product {
    name: String,
    side: usize,
    ms: f64,
    gflops: f64,
}

/// A convolution with both sides' milliseconds.
#[derive(Debug, Clone, Serialize)]
struct Row {
    /// The first case that has it.
    case: &'static str,
    shape: Convolution,
    subband: ConvolutionTimes,
    pytorch: Option<ConvolutionTimes>,
}

/// Measures the distinct convolutions of the cases, told to `progress` line by line.
///
/// # Errors
/// A process fails.
pub fn measure(
    runner: &Runner,
    cases: &[Case],
    rounds: usize,
    repetition: Repetition,
    progress: &mut dyn FnMut(String),
) -> Result<Kernels, Failure> {
    let mut shapes: Vec<Convolution> = Vec::new();
    let mut owners = Vec::new();
    for case in cases {
        let new = case.convolutions(&shapes)?;
        owners.extend(new.iter().map(|_| case.name));
        shapes.extend(new);
    }
    let request = Request::Kernels(KernelRequest { shapes: shapes.clone(), products: PRODUCTS.into(), repetition });
    let mut readings: Vec<(Side, Vec<KernelReading>)> = runner.sides().into_iter().map(|s| (s, Vec::new())).collect();
    for round in 1..=rounds {
        for (side, all) in &mut readings {
            let reading: KernelReading = runner.measure(*side, "convolutions", &request)?;
            if reading.convolutions.len() != shapes.len() {
                return Err(Failure::failed(format!("{} left convolutions out", side.name()), "please report this"));
            }
            progress(format!("{} convolutions round {round}/{rounds}: {}", shapes.len(), side.name()));
            all.push(reading);
        }
    }
    let of = |side: Side| readings.iter().find(|(name, _)| *name == side).map(|(_, all)| all);
    let times = |side: Side, index: usize| {
        let all = of(side)?;
        let middle = |value: fn(&ConvolutionTimes) -> f64| {
            median(all.iter().map(|reading| value(&reading.convolutions[index])).collect())
        };
        Some(ConvolutionTimes { forward: middle(|times| times.forward), both: middle(|times| times.both) })
    };
    let rows = shapes.iter().zip(owners).enumerate().filter_map(|(index, (shape, case))| {
        let (subband, pytorch) = (times(Side::Subband, index)?, times(Side::PyTorch, index));
        Some(Row { case, shape: *shape, subband, pytorch })
    });
    let products: Vec<Product> = readings.iter().flat_map(|(_, all)| products(all)).collect();
    let peak_gflops = products.iter().map(|product| product.gflops).fold(0.0, f64::max);
    Ok(Kernels { peak_gflops, convolutions: rows.collect(), products })
}

/// One side's products. The peak is a limit, so the least disturbed round counts.
fn products(readings: &[KernelReading]) -> Vec<Product> {
    let Some(first) = readings.first() else { return Vec::new() };
    let product = |(index, (name, side, _)): (usize, &(String, usize, f64))| {
        let all = readings.iter().filter_map(|reading| reading.products.get(index));
        let ms = all.map(|(_, _, ms)| *ms).fold(f64::INFINITY, f64::min);
        Product { name: name.clone(), side: *side, ms, gflops: gflops(2.0 * (*side as f64).powi(3), ms) }
    };
    first.products.iter().enumerate().map(product).collect()
}

/// Billions of operations per second of a time in milliseconds.
fn gflops(operations: f64, ms: f64) -> f64 {
    operations / ms * 1e-6
}

/// The matrix products, then a table per case.
pub fn tables(kernels: &Kernels) -> Vec<Table> {
    let mut products = Table::new("Matrix products (f32): the best is the peak", &["product", "side", "ms", "GFLOP/s"]);
    for product in &kernels.products {
        let numbers = [product.side.to_string(), format!("{:.2}", product.ms), format!("{:.0}", product.gflops)];
        products.row(std::iter::once(product.name.clone()).chain(numbers));
    }
    let tables = kernels.convolutions.chunk_by(|a, b| a.case == b.case).map(|rows| table(rows, kernels.peak_gflops));
    std::iter::once(products).chain(tables).collect()
}

fn table(rows: &[Row], peak: f64) -> Table {
    let title = rows.first().map_or(String::new(), |row| format!("Convolutions of {}", row.case));
    let compared = rows.iter().any(|row| row.pytorch.is_some());
    let half = ["forward ms", "GFLOP/s", "of peak", "PyTorch ms", "ratio"];
    let other = ["both ms", "GFLOP/s", "of peak", "PyTorch ms", "ratio"];
    let shown = if compared { 5 } else { 3 };
    let header: Vec<&str> =
        std::iter::once("convolution").chain(half[..shown].to_vec()).chain(other[..shown].to_vec()).collect();
    let mut table = Table::new(title, &header);
    for row in rows {
        let mut cells = vec![describe(&row.shape)];
        let forward = (row.subband.forward, row.pytorch.map(|times| times.forward), row.shape.forward_flops());
        let both = (row.subband.both, row.pytorch.map(|times| times.both), row.shape.both_flops());
        for (ours, theirs, operations) in [forward, both] {
            let rate = gflops(operations, ours);
            cells.extend([format!("{ours:.2}"), format!("{rate:.1}"), format!("{:.0} %", 100.0 * rate / peak)]);
            if let Some(theirs) = theirs {
                cells.extend([format!("{theirs:.2}"), format!("{:.2}", ours / theirs)]);
            }
        }
        table.row(cells);
    }
    table
}

/// `3x3 16 to 32, stride 2, dilation 4, 64x32x32`: what is 1 is not said.
fn describe(shape: &Convolution) -> String {
    let Convolution { kernel, in_channels, out_channels, input: [height, width], .. } = shape;
    let mut text = format!("{kernel}x{kernel} {in_channels} to {out_channels}");
    if shape.groups == shape.in_channels && shape.groups > 1 {
        text += ", depthwise";
    } else if shape.groups > 1 {
        text += &format!(", {} groups", shape.groups);
    }
    if shape.stride > 1 {
        text += &format!(", stride {}", shape.stride);
    }
    if shape.dilation > 1 {
        text += &format!(", dilation {}", shape.dilation);
    }
    text + &format!(", {}x{height}x{width}", shape.batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use subband_models::NetworkConfig;

    #[test]
    fn convolutions_that_differ_are_described_differently() {
        let shapes = NetworkConfig::new("pspnet-resnet18-d8", 3, 12).convolutions(360, 480).unwrap();
        let mut different: Vec<Convolution> = Vec::new();
        for convolution in shapes.iter().map(|shape| Convolution::new(shape, 4)) {
            if !different.contains(&convolution) {
                different.push(convolution);
            }
        }
        let mut texts: Vec<String> = different.iter().map(describe).collect();
        assert!(texts.iter().any(|text| text == "3x3 512 to 512, dilation 4, 4x45x60"), "{texts:?}");
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), different.len(), "{texts:?}");
    }
}
