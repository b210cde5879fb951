//! Vision transformers (Dosovitskiy et al. 2021) and DeiT (Touvron et al. 2021) with timm's names and keys; the same
//! networks, published with other weights.
//!
//! ```text
//! z   = [cls; patches] + pos                          [cls; dist; patches] in the distilled networks
//! z  <- z + proj(attention(qkv(norm1(z))))            every block, pre-normalised
//! z  <- z + fc2(gelu(fc1(norm2(z))))
//! logits = head(norm(z)_cls)                          (head(norm(z)_cls) + head_dist(norm(z)_dist)) / 2
//! ```
//!
//! Dropout and stochastic depth are not applied. Taps: `stem` is the patch embedding (patches only, without positions);
//! `blocks.0` and so on are the blocks' outputs with the extra tokens in front; `stage1..4` are the outputs of the
//! blocks that close the four quarters; `norm` is the last normalisation, `pooled` the class token after it. The
//! distilled networks also have `head` and `head_dist`, the logits of either token: `logits` is their mean, in training
//! too.
use super::Build;
use crate::builder::{ConvArgs, GraphBuilder};
use crate::graph::{Graph, Init, NodeId};

/// Standard deviation of the fully connected layers' weights.
const STD: f64 = 0.02;

/// What tells the networks of this family apart.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    /// Channels of a token.
    pub width: usize,
    pub heads: usize,
    /// Number of blocks, a multiple of four.
    pub depth: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Side of the image in patches.
    pub side: usize,
    /// Whether there is a distillation token.
    pub distilled: bool,
}

impl Variant {
    /// The same network with a distillation token.
    pub const fn distilled(self) -> Self {
        Self { distilled: true, ..self }
    }
}

const fn patch16(width: usize, heads: usize) -> Variant {
    Variant { width, heads, depth: 12, patch: 16, side: 14, distilled: false }
}

pub(super) const TINY: Variant = patch16(192, 3);
pub(super) const SMALL: Variant = patch16(384, 6);
pub(super) const BASE: Variant = patch16(768, 12);

/// The network.
pub(crate) fn build(b: Build<'_>, v: Variant) -> Graph {
    let (mut g, input) = GraphBuilder::new(b.in_channels, Init::Uniform, Init::Normal(STD));
    let patches = ConvArgs::new(v.width, v.patch).stride(v.patch).padding(0).bias();
    let x = g.conv("patch_embed.proj", input, patches);
    let x = g.tokens(x);
    g.tap("stem", x);
    let mut x = g.embed(x, if v.distilled { 2 } else { 1 }, v.side);
    for index in 0..v.depth {
        x = block(&mut g, &format!("blocks.{index}"), x, v.heads);
        g.tap(&format!("blocks.{index}"), x);
        if (index + 1) % (v.depth / 4) == 0 {
            g.tap(&format!("stage{}", (index + 1) / (v.depth / 4)), x);
        }
    }
    let x = g.layer_norm("norm", x);
    g.tap("norm", x);
    let class = g.token(x, 0);
    g.tap("pooled", class);
    let mut logits = g.linear("head", class, b.classes);
    if v.distilled {
        let other = g.token(x, 1);
        let other = g.linear("head_dist", other, b.classes);
        g.tap("head", logits);
        g.tap("head_dist", other);
        logits = g.mean(logits, other);
    }
    g.close(b.network, logits, Some(v.patch * v.side))
}

/// Attention and a network of two layers on every token, each with its sum.
fn block(g: &mut GraphBuilder, name: &str, x: NodeId, heads: usize) -> NodeId {
    let key = |part: &str| format!("{name}.{part}");
    let width = g.channels(x);
    let y = g.layer_norm(&key("norm1"), x);
    let y = g.linear(&key("attn.qkv"), y, 3 * width);
    let y = g.attention(y, heads);
    let y = g.linear(&key("attn.proj"), y, width);
    let x = g.add(x, y);
    let y = g.layer_norm(&key("norm2"), x);
    let y = g.linear(&key("mlp.fc1"), y, 4 * width);
    let y = g.gelu(y);
    let y = g.linear(&key("mlp.fc2"), y, width);
    g.add(x, y)
}
