//! Hooks: values of a running network that are replaced before the rest of it runs.
use burn::prelude::*;

use crate::ModelError;
use crate::value::{Tokens, Value};
use subband_kernels::layout::{channels_first, channels_last};

/// What went wrong in a hook, in its own words.
pub type HookError = Box<dyn std::error::Error + Send + Sync>;

/// Replaces a value: gets the tap's name and `[N, C, H, W]`, gives a map of the same shape.
pub type Replace<'a> = dyn FnMut(&str, Tensor<4>) -> Result<Tensor<4>, HookError> + 'a;

/// Taps whose values are replaced, and by what.
pub(crate) struct Hooks<'a, 'b> {
    pub taps: &'a [String],
    pub replace: &'a mut Replace<'b>,
}

impl Hooks<'_, '_> {
    /// The value at `tap` replaced, of the same rank and shape.
    ///
    /// A vector is shown as a 1x1 map; of tokens the grid is, and those off the grid stay as they are.
    pub fn apply(&mut self, network: &str, tap: &str, value: Value) -> Result<Value, ModelError> {
        let mut replace = |x: Tensor<4>| {
            let (shape, autodiff) = (x.dims(), x.is_autodiff());
            let hook = |source| ModelError::Hook { tap: tap.to_string(), source };
            let y = (self.replace)(tap, x).map_err(hook)?;
            if y.dims() != shape {
                let found = y.dims();
                return Err(ModelError::HookShape { tap: tap.to_string(), expected: shape, found });
            }
            if y.is_autodiff() && !autodiff {
                return Err(ModelError::HookDevice { network: network.to_string(), tap: tap.to_string() });
            }
            Ok(if autodiff { y.autodiff() } else { y })
        };
        Ok(match value {
            Value::Map(x) => Value::Map(channels_last(replace(channels_first(x))?)),
            Value::Vector(x) => {
                let [n, c] = x.dims();
                Value::Vector(replace(x.reshape([n, c, 1, 1]))?.reshape([n, c]))
            }
            Value::Tokens(Tokens { values, prefix, grid }) => {
                let [n, length, c] = values.dims();
                let on_grid = values.clone().narrow(1, prefix, length - prefix);
                let map = replace(on_grid.swap_dims(1, 2).reshape([n, c, grid.0, grid.1]))?;
                let on_grid = map.reshape([n, c, length - prefix]).swap_dims(1, 2);
                let values =
                    if prefix == 0 { on_grid } else { Tensor::cat(vec![values.narrow(1, 0, prefix), on_grid], 1) };
                Value::Tokens(Tokens { values, prefix, grid })
            }
        })
    }
}
