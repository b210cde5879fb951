//! One-dimensional complex transforms over vectors of lanes: the passes of [`Plan`].
//!
//! Real and imaginary parts stand in separate buffers; every lane is a transform of its own.
use super::lanes::{Lanes, Real, Vectorized};
use super::plan::{Chirp, MAX_PRIME, Pass, Plan};

/// A complex signal: pointers to its real and imaginary parts.
#[derive(Clone, Copy)]
pub(crate) struct Parts<V> {
    pub(crate) re: *mut V,
    pub(crate) im: *mut V,
}

impl<V: Copy> Parts<V> {
    /// Both parts `offset` vectors further.
    ///
    /// # Safety
    /// The place lies within both buffers.
    #[inline(always)]
    pub(crate) unsafe fn at(self, offset: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self { re: self.re.add(offset), im: self.im.add(offset) } }
    }
    /// Real and imaginary parts exchanged: turns a forward transform into an inverse one.
    #[inline(always)]
    pub(crate) fn swapped(self) -> Self {
        Self { re: self.im, im: self.re }
    }
    #[inline(always)]
    unsafe fn get(self, i: usize) -> [V; 2] {
        // SAFETY: the caller's promise.
        unsafe { [*self.re.add(i), *self.im.add(i)] }
    }
    #[inline(always)]
    unsafe fn set(self, i: usize, z: [V; 2]) {
        // SAFETY: the caller's promise.
        unsafe {
            *self.re.add(i) = z[0];
            *self.im.add(i) = z[1];
        }
    }
}

/// Transforms `data` in place, forward and without a factor.
///
/// # Safety
/// Both parts of `data` hold `plan.len` vectors, both of `scratch` `plan.scratch()`; none overlap.
pub(crate) unsafe fn transform<V: Lanes>(plan: &Plan<V::Real>, data: Parts<V>, scratch: Parts<V>) {
    V::vectorize(Transform { plan, data, scratch });
}

struct Transform<'a, V: Lanes> {
    plan: &'a Plan<V::Real>,
    data: Parts<V>,
    scratch: Parts<V>,
}

impl<V: Lanes> Vectorized<V> for Transform<'_, V> {
    #[inline(always)]
    fn call(self) {
        let Self { plan, data, scratch } = self;
        // SAFETY: the promises of `transform`.
        unsafe {
            match &plan.chirp {
                None => all_passes(&plan.passes, plan.len, data, scratch),
                Some(c) => chirp_product(c, plan.len, data, scratch),
            }
        }
    }
}

/// All passes, ending in `data`: between first and last the signal moves through the two halves of `scratch`.
#[inline(always)]
unsafe fn all_passes<V: Lanes>(passes: &[Pass<V::Real>], len: usize, data: Parts<V>, scratch: Parts<V>) {
    let mut from = data;
    // SAFETY: `scratch` holds twice `len`; a single pass has one transform, which is read whole before it is written.
    unsafe {
        let halves = [scratch, scratch.at(len)];
        for (i, pass) in passes.iter().enumerate() {
            let to = if i + 1 == passes.len() { data } else { halves[i % 2] };
            one_pass(pass, from, to);
            from = to;
        }
    }
}

/// Not inlined into each other: a pass is long enough that the call does not matter.
#[inline(always)]
unsafe fn one_pass<V: Lanes>(pass: &Pass<V::Real>, from: Parts<V>, to: Parts<V>) {
    struct Run<'a, V: Lanes>(&'a Pass<V::Real>, Parts<V>, Parts<V>);
    impl<V: Lanes> Vectorized<V> for Run<'_, V> {
        #[inline(always)]
        fn call(self) {
            let Self(pass, from, to) = self;
            // SAFETY: the promises of `one_pass`.
            unsafe {
                match pass.radix {
                    2 => butterflies::<V, 2>(pass, from, to, two),
                    3 => butterflies::<V, 3>(pass, from, to, |z, p| odd(z, &p.roots)),
                    4 => butterflies::<V, 4>(pass, from, to, four),
                    5 => butterflies::<V, 5>(pass, from, to, |z, p| odd(z, &p.roots)),
                    7 => butterflies::<V, 7>(pass, from, to, |z, p| odd(z, &p.roots)),
                    8 => butterflies::<V, 8>(pass, from, to, eight),
                    _ => long_butterflies(pass, from, to),
                }
            }
        }
    }
    V::vectorize(Run(pass, from, to));
}

type Z<V> = [V; 2];

#[inline(always)]
fn add<V: Lanes>(a: Z<V>, b: Z<V>) -> Z<V> {
    [a[0].add(b[0]), a[1].add(b[1])]
}

#[inline(always)]
fn sub<V: Lanes>(a: Z<V>, b: Z<V>) -> Z<V> {
    [a[0].sub(b[0]), a[1].sub(b[1])]
}

/// a * (c + i s).
#[inline(always)]
fn rotate<V: Lanes>(a: Z<V>, w: [V; 2]) -> Z<V> {
    [a[1].neg_mul_add(w[1], a[0].mul(w[0])), a[1].mul_add(w[0], a[0].mul(w[1]))]
}

/// -i a.
#[inline(always)]
fn quarter<V: Lanes>(a: Z<V>) -> Z<V> {
    [a[1], a[0].neg()]
}

#[inline(always)]
fn splat<V: Lanes>(w: [V::Real; 2]) -> [V; 2] {
    w.map(V::splat)
}

/// One pass with a transform of `R` values in registers.
#[inline(always)]
unsafe fn butterflies<V: Lanes, const R: usize>(
    pass: &Pass<V::Real>,
    from: Parts<V>,
    to: Parts<V>,
    small: impl Fn([Z<V>; R], &Pass<V::Real>) -> [Z<V>; R],
) {
    let (m, s) = (pass.count, pass.stride);
    for p in 0..m {
        let mut w = [[V::zero(); 2]; R];
        for (w, twiddle) in w[1..].iter_mut().zip(&pass.twiddles[p * (R - 1)..]) {
            *w = splat(*twiddle);
        }
        for q in 0..s {
            // SAFETY: q + s (p + m k) and q + s (R p + k) lie below R m s, the length.
            unsafe {
                let z = small(std::array::from_fn(|k| from.get(q + s * (p + m * k))), pass);
                to.set(q + s * R * p, z[0]);
                for k in 1..R {
                    to.set(q + s * (R * p + k), if p == 0 { z[k] } else { rotate(z[k], w[k]) });
                }
            }
        }
    }
}

#[inline(always)]
fn two<V: Lanes>([a, b]: [Z<V>; 2], _: &Pass<V::Real>) -> [Z<V>; 2] {
    [add(a, b), sub(a, b)]
}

#[inline(always)]
fn four<V: Lanes>([a, b, c, d]: [Z<V>; 4], _: &Pass<V::Real>) -> [Z<V>; 4] {
    let (e, f, g, h) = (add(a, c), sub(a, c), add(b, d), quarter(sub(b, d)));
    [add(e, g), add(f, h), sub(e, g), sub(f, h)]
}

/// Two transforms of the even and odd values, joined by eighth roots.
#[inline(always)]
fn eight<V: Lanes>(z: [Z<V>; 8], pass: &Pass<V::Real>) -> [Z<V>; 8] {
    let half = V::splat(V::Real::from_f64(std::f64::consts::FRAC_1_SQRT_2));
    let even = four([z[0], z[2], z[4], z[6]], pass);
    let odd = four([z[1], z[3], z[5], z[7]], pass);
    let odd = [
        odd[0],
        [odd[1][0].add(odd[1][1]).mul(half), odd[1][1].sub(odd[1][0]).mul(half)],
        quarter(odd[2]),
        [odd[3][1].sub(odd[3][0]).mul(half), odd[3][0].add(odd[3][1]).mul(half).neg()],
    ];
    std::array::from_fn(|k| if k < 4 { add(even[k], odd[k]) } else { sub(even[k - 4], odd[k - 4]) })
}

/// Odd length: with `a_j = x_j + x_{R-j}` and `b_j = x_j - x_{R-j}`,
/// `X_k = x_0 + sum_j a_j cos(2 pi j k / R) - i sum_j b_j sin(2 pi j k / R)` and X_{R-k} has the other sign.
#[inline(always)]
fn odd<V: Lanes, const R: usize>(z: [Z<V>; R], roots: &[[V::Real; 2]]) -> [Z<V>; R] {
    let half = R / 2;
    let mut sum = z;
    let mut difference = z;
    let mut out = z;
    for j in 1..=half {
        sum[j] = add(z[j], z[R - j]);
        difference[j] = sub(z[j], z[R - j]);
        out[0] = add(out[0], sum[j]);
    }
    for k in 1..=half {
        let (mut even, mut turned) = (z[0], [V::zero(); 2]);
        for j in 1..=half {
            let [c, s] = splat::<V>(roots[j * k % R]);
            even = [sum[j][0].mul_add(c, even[0]), sum[j][1].mul_add(c, even[1])];
            turned = [difference[j][1].mul_add(s, turned[0]), difference[j][0].neg_mul_add(s, turned[1])];
        }
        out[k] = add(even, turned);
        out[R - k] = sub(even, turned);
    }
    out
}

/// [`butterflies`] for the larger primes, with their values in memory.
#[inline(always)]
unsafe fn long_butterflies<V: Lanes>(pass: &Pass<V::Real>, from: Parts<V>, to: Parts<V>) {
    let (r, m, s) = (pass.radix, pass.count, pass.stride);
    let half = r / 2;
    let mut sum = [[V::zero(); 2]; MAX_PRIME / 2 + 1];
    let mut difference = sum;
    for p in 0..m {
        let twiddle = |k: usize| splat::<V>(pass.twiddles[p * (r - 1) + k - 1]);
        for q in 0..s {
            // SAFETY: as in `butterflies`.
            unsafe {
                let first = from.get(q + s * p);
                let mut total = first;
                for j in 1..=half {
                    let (a, b) = (from.get(q + s * (p + m * j)), from.get(q + s * (p + m * (r - j))));
                    sum[j] = add(a, b);
                    difference[j] = sub(a, b);
                    total = add(total, sum[j]);
                }
                to.set(q + s * r * p, total);
                for k in 1..=half {
                    let (mut even, mut turned) = (first, [V::zero(); 2]);
                    for j in 1..=half {
                        let [c, n] = splat::<V>(pass.roots[j * k % r]);
                        even = [sum[j][0].mul_add(c, even[0]), sum[j][1].mul_add(c, even[1])];
                        turned = [difference[j][1].mul_add(n, turned[0]), difference[j][0].neg_mul_add(n, turned[1])];
                    }
                    to.set(q + s * (r * p + k), rotate(add(even, turned), twiddle(k)));
                    to.set(q + s * (r * p + r - k), rotate(sub(even, turned), twiddle(r - k)));
                }
            }
        }
    }
}

/// Bluestein: times the chirp, cyclic convolution with the conjugate chirp, times the chirp.
#[inline(always)]
unsafe fn chirp_product<V: Lanes>(c: &Chirp<V::Real>, len: usize, data: Parts<V>, scratch: Parts<V>) {
    let m = c.inner.len;
    // SAFETY: `scratch` holds three times m.
    unsafe {
        let (work, rest) = (scratch, scratch.at(m));
        for k in 0..m {
            let z = if k < len { rotate(data.get(k), splat(c.chirp[k])) } else { [V::zero(); 2] };
            work.set(k, z);
        }
        all_passes(&c.inner.passes, m, work, rest);
        for k in 0..m {
            work.set(k, rotate(work.get(k), splat(c.kernel[k])));
        }
        all_passes(&c.inner.passes, m, work.swapped(), rest.swapped());
        for k in 0..len {
            data.set(k, rotate(work.get(k), splat(c.chirp[k])));
        }
    }
}
