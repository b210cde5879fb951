//! The error that the transforms make, the tiles, and the cuts of large layers.
use super::super::geometry::ConvGeometry;
use super::super::tests::oracle::{Operands, reference};
use super::super::{forward, input_gradient, weight_gradient};
use super::*;
use subband_seed::Stream;

/// Largest error over the root mean square of the results.
fn relative(got: &[f32], want: &[f64]) -> f64 {
    let scale = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
    got.iter().zip(want).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max) / scale
}

/// [`relative`] errors of the forward pass, the input gradient and, where it is
/// taken this way, the weight gradient.
fn errors(x: [usize; 4], outputs: usize, padding: usize, dilation: usize) -> Vec<f64> {
    let g = ConvGeometry::new(x, [outputs, x[1], 3, 3], [1; 2], [padding; 2], [dilation; 2], 1).unwrap();
    assert!(applies(&Correlation::forward(&g), g.batch, [x[1], outputs]), "{g:?}");
    let data = Operands::draw(&g, &mut Stream::new(5).with("winograd").at(x.iter().sum::<usize>() as u64));
    let product = Product::detect();
    let y = forward(product, &g, &data.x, &data.w, Epilogue::default());
    let dx = input_gradient(product, &g, &data.dy, &data.w);
    let dw = weight_gradient(product, &g, &data.x, &data.dy);
    let taken = if weights::applies_to_weights(&g) { 3 } else { 2 };
    [y, dx, dw].into_iter().zip(reference(&g, &data)).take(taken).map(|(got, want)| relative(&got, &want)).collect()
}

#[test]
fn errors_are_as_stated() {
    for (x, outputs, padding, dilation, count) in [
        ([8, 64, 16, 16], 64, 1, 1, 2),
        ([5, 33, 15, 19], 50, 1, 1, 2),
        ([16, 32, 13, 10], 48, 0, 1, 2),
        ([2, 128, 31, 29], 36, 2, 1, 2),
        ([64, 64, 8, 8], 32, 1, 1, 2),
        ([2, 40, 31, 32], 33, 2, 2, 2),
        ([3, 130, 23, 20], 140, 1, 1, 3),
        ([1, 128, 33, 32], 150, 4, 4, 3),
    ] {
        let found = errors(x, outputs, padding, dilation);
        assert_eq!(found.len(), count, "{x:?}");
        let most = if count == 3 { 2e-5 } else { 1e-5 };
        assert!(found.iter().all(|&e| e > 0.0 && e < most), "{x:?}: {found:?}");
    }
}

#[test]
fn every_result_is_in_one_tile() {
    for (size, dilation) in [([45, 60], 1), ([45, 60], 4), ([7, 9], 3), ([5, 3], 12)] {
        let x = [2, 1, size[0], size[1]];
        let g = ConvGeometry::new(x, [1, 1, 3, 3], [1; 2], [dilation; 2], [dilation; 2], 1).unwrap();
        let tiles = Tiles::new(&Correlation::forward(&g), g.batch);
        let counts = size.map(|n| tiles::count(n, dilation));
        assert_eq!(tiles.list.len(), 2 * counts[0] * counts[1]);
        let mut seen = vec![0; 2 * size[0] * size[1]];
        for (tile, i, j) in tiles.list.iter().flat_map(|t| (0..OUT * OUT).map(move |k| (t, k / OUT, k % OUT))) {
            let (y, x) = (tile.y + i * dilation, tile.x + j * dilation);
            if y < size[0] && x < size[1] {
                seen[(tile.image * size[0] + y) * size[1] + x] += 1;
            }
        }
        assert!(seen.iter().all(|n| *n == 1), "{size:?} {dilation}");
    }
}

/// Few transformed numbers at a time: the tiles' sums are added up over several chunks.
#[test]
fn chunks_of_tiles_add_up() {
    let g = ConvGeometry::new([1, 128, 33, 31], [130, 128, 3, 3], [1; 2], [1; 2], [1; 2], 1).unwrap();
    assert!(weights::applies_to_weights(&g) && tiles_of(&Correlation::forward(&g), 1) == 72);
    let data = Operands::draw(&g, &mut Stream::new(6).with("chunks"));
    let [_, _, want] = reference(&g, &data);
    for product in Product::available() {
        // 29 tiles at a time.
        let room = 29 * POINTS * (128 + 144);
        let run = |dw| weights::run_in(room, &product, &g, &data.x, &data.dy, dw);
        // SAFETY: all of dW is written.
        let found = unsafe { Destination::filled(130 * 128 * 9, run) };
        let error = relative(&found, &want);
        assert!(error > 0.0 && error < 2e-5, "{}: {error:e}", product.name);
    }
}

#[test]
fn blocks_are_whole_vectors_and_cover_all_channels() {
    for channels in [1, 33, 512, 513, 520, 1000, 4096] {
        let list: Vec<_> = blocks(channels).collect();
        assert_eq!(list.len(), channels.div_ceil(SIDE), "{channels}");
        assert_eq!((list[0].start, list[list.len() - 1].end), (0, channels));
        assert!(list.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].end % 16 == 0));
        assert!(list.iter().all(|block| !block.is_empty() && block.len() <= SIDE));
    }
}
