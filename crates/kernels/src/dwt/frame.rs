//! One level of a separable two-band transform, written as sparse matrices.
//!
//! Every boundary rule is linear, so a level is a pair of matrices per axis, low-pass `L` and high-pass `H`, whose rows
//! hold a handful of taps. With `.h` for the height and `.w` for the width, a map `X` splits into
//!
//! ```text
//! LL = L.h X L.w^T    LH = H.h X L.w^T    HL = L.h X H.w^T    HH = H.h X H.w^T
//! ```
//!
//! and the transpose of that split merges four bands into a map. Analysis is a split; synthesis is a merge; each one's
//! gradient is the other operation with the same matrices, boundary included.

/// A sparse matrix that acts along one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct AxisMatrix {
    rows: usize,
    columns: usize,
    start: Vec<usize>,
    taps: Vec<(usize, f64)>,
}

impl AxisMatrix {
    /// A matrix from the taps `(column, weight)` of each row; repeated columns add up.
    ///
    /// # Panics
    /// When a tap lies outside the matrix.
    pub fn new(columns: usize, rows: Vec<Vec<(usize, f64)>>) -> Self {
        let mut start = vec![0];
        let mut taps = Vec::new();
        for row in &rows {
            assert!(row.iter().all(|(c, _)| *c < columns), "a tap lies outside {columns} columns");
            taps.extend_from_slice(row);
            start.push(taps.len());
        }
        Self { rows: rows.len(), columns, start, taps }
    }

    /// Length of the result.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Length of the input.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Taps `(column, weight)` of a row.
    pub fn row(&self, i: usize) -> &[(usize, f64)] {
        &self.taps[self.start[i]..self.start[i + 1]]
    }

    /// The transposed matrix.
    pub fn transpose(&self) -> Self {
        let mut rows = vec![Vec::new(); self.columns];
        for i in 0..self.rows {
            for &(c, w) in self.row(i) {
                rows[c].push((i, w));
            }
        }
        Self::new(self.rows, rows)
    }

    /// All entries in row-major order.
    pub fn dense(&self) -> Vec<f64> {
        let mut out = vec![0.0; self.rows * self.columns];
        for i in 0..self.rows {
            for &(c, w) in self.row(i) {
                out[i * self.columns + c] += w;
            }
        }
        out
    }
}

/// The two matrices of an axis: both from the length of the map to the length of a band.
#[derive(Debug, Clone, PartialEq)]
pub struct AxisSplit {
    /// Low-pass.
    pub low: AxisMatrix,
    /// High-pass.
    pub high: AxisMatrix,
}

impl AxisSplit {
    pub(super) fn transpose(&self) -> Self {
        Self { low: self.low.transpose(), high: self.high.transpose() }
    }
}

/// The matrices of one level, and which kernel runs them.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub(super) split: [AxisSplit; 2],
    pub(super) merge: [AxisSplit; 2],
    pub(super) haar: bool,
}

impl Frame {
    /// The frame whose split is made of these matrices.
    ///
    /// # Panics
    /// When the two matrices of an axis differ in shape.
    pub fn from_split(height: AxisSplit, width: AxisSplit) -> Self {
        for axis in [&height, &width] {
            assert_eq!(axis.low.rows, axis.high.rows, "low and high bands differ in length");
            assert_eq!(axis.low.columns, axis.high.columns, "low and high bands differ in source");
        }
        let merge = [height.transpose(), width.transpose()];
        Self { split: [height, width], merge, haar: false }
    }

    /// The frame whose merge is made of these matrices, each from the length of a band to the length of the map.
    ///
    /// # Panics
    /// As [`Frame::from_split`].
    pub fn from_merge(height: AxisSplit, width: AxisSplit) -> Self {
        Self::from_split(height.transpose(), width.transpose())
    }

    /// Haar with zeros beyond the last row and column; runs as block arithmetic.
    pub fn haar(height: usize, width: usize) -> Self {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        let axis = |n: usize, sign: f64| {
            let row = |i: usize| [(2 * i, half), (2 * i + 1, sign * half)].into_iter().filter(|t| t.0 < n).collect();
            AxisMatrix::new(n, (0..n.div_ceil(2)).map(row).collect())
        };
        let split = |n| AxisSplit { low: axis(n, 1.0), high: axis(n, -1.0) };
        Self { haar: true, ..Self::from_split(split(height), split(width)) }
    }

    /// Height and width of the map.
    pub fn map_size(&self) -> [usize; 2] {
        [self.split[0].low.columns, self.split[1].low.columns]
    }

    /// Height and width of each band.
    pub fn band_size(&self) -> [usize; 2] {
        [self.split[0].low.rows, self.split[1].low.rows]
    }

    /// The matrices of the split along height and width.
    pub fn split_matrices(&self) -> &[AxisSplit; 2] {
        &self.split
    }
}
