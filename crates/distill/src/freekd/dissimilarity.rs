//! How much the T masks of a set overlap: small when each prompt looks at other pixels.
//!
//! With `m_t` the mask of prompt t over the positions of a band:
//!
//! * Dice on squares (the released code): `d(p, q) = 2 <p, q> / (|p|^2 + |q|^2 + 2e-12)`, mean over the `T (T - 1)` ordered
//!   pairs of different prompts;
//! * Jaccard (equations 7 and 8): `J(p, q) = |p n q| / |p u q|`, mean over all `T^2` pairs. For masks between 0 and 1 the
//!   paper leaves the set sizes open; *reconstruction*: `<p, q>` and `|p|^2 + |q|^2 - <p, q>`, so that `J = d / (2 - d)` and
//!   a mask has coefficient 1 with itself. The paper writes M before the sigmoid; sets need the masks after it.
//!
//! Both are means over the batch, added over the sets.
use burn::prelude::*;
use serde::{Deserialize, Serialize};

/// How the overlap of two masks is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Similarity {
    /// Dice coefficient on squares between different prompts (the released code).
    Dice,
    /// Jaccard coefficient over all pairs (the paper).
    Jaccard,
}

impl Similarity {
    /// The mean coefficient of the masks of one set.
    ///
    /// # Shapes
    /// `[N, T, h, w]` to `[1]`; 0 for Dice with one prompt, which has no pair.
    pub fn of(self, masks: Tensor<4>) -> Tensor<1> {
        let [n, tokens, _, _] = masks.dims();
        let masks = masks.flatten::<3>(2, 3);
        // A squared norm is summed directly: the diagonal of the product would need a gather.
        let norms = masks.clone().square().sum_dim(2);
        let product = masks.clone().matmul(masks.swap_dims(1, 2));
        let both = norms.clone() + norms.swap_dims(1, 2);
        match self {
            Self::Dice if tokens == 1 => product.mul_scalar(0.0).sum(),
            Self::Dice => {
                let dice = product * 2.0 / (both + 2e-12);
                // The diagonal is not part of the mean.
                let own = Tensor::<2>::eye(tokens, &dice.device()).cast(dice.dtype());
                let others = dice * (own.ones_like() - own).unsqueeze::<3>();
                others.sum() / (n * tokens * (tokens - 1)) as f64
            }
            Self::Jaccard => (product.clone() / (both - product + 1e-12)).sum() / (n * tokens * tokens) as f64,
        }
    }
}
