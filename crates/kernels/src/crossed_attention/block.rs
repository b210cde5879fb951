//! Sixteen groups at once: plain arithmetic on lanes.
use crate::exponential::exp_of_negative;
use crate::simd::multiversion;

/// Groups side by side.
pub(super) const WIDTH: usize = 16;

/// One number of each group.
pub(super) type Lanes = [f32; WIDTH];

const ZERO: Lanes = [0.0; WIDTH];

/// Sizes of the inputs `[L, G, 3 C]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Tokens L.
    pub tokens: usize,
    /// Groups G.
    pub groups: usize,
    /// Columns C of queries, of keys and of values.
    pub columns: usize,
    /// Heads, a divisor of C.
    pub heads: usize,
}

impl Sizes {
    /// Width d of one head.
    fn depth(self) -> usize {
        self.columns / self.heads
    }

    fn scale(self) -> f32 {
        (self.depth() as f32).sqrt().recip()
    }

    /// Tasks: blocks of [`WIDTH`] groups, the last one filled up with zeros.
    pub fn blocks(self) -> usize {
        self.groups.div_ceil(WIDTH)
    }
}

/// Queries, keys and values of one head, `[L, d]` each.
struct Side([Vec<Lanes>; 3]);

impl Side {
    fn new(sizes: Sizes) -> Self {
        Self([(); 3].map(|()| vec![ZERO; sizes.tokens * sizes.depth()]))
    }

    #[inline(always)]
    fn load(&mut self, sizes: Sizes, x: &[f32], block: usize, head: usize) {
        for (part, to) in self.0.iter_mut().enumerate() {
            load(sizes, x, [block, 3 * sizes.columns, part * sizes.columns + head * sizes.depth()], to);
        }
    }
}

/// `to[token][c]` from the columns `column ..` of rows of length `row`. Lanes beyond the last group are zero.
#[inline(always)]
fn load(sizes: Sizes, x: &[f32], [block, row, column]: [usize; 3], to: &mut [Lanes]) {
    let first = block * WIDTH;
    let count = WIDTH.min(sizes.groups - first);
    for (token, to) in to.chunks_exact_mut(sizes.depth()).enumerate() {
        to.fill(ZERO);
        for lane in 0..count {
            let from = &x[(token * sizes.groups + first + lane) * row + column..][..to.len()];
            for (to, v) in to.iter_mut().zip(from) {
                to[lane] = *v;
            }
        }
    }
}

/// What one thread works in.
pub(super) struct Scratch {
    student: Side,
    teacher: Side,
    /// The gradient of the difference of one head, `[L, d]`.
    gradient: Vec<Lanes>,
    /// Rows of weights, `[L]` each.
    rows: [Vec<Lanes>; 2],
    /// Sum over heads of P_s - P_t, `[L, L]`.
    apart: Vec<Lanes>,
}

impl Scratch {
    pub fn new(sizes: Sizes, backward: bool) -> Self {
        let lanes = |n| vec![ZERO; n];
        let l = sizes.tokens;
        Self {
            student: Side::new(sizes),
            teacher: Side::new(sizes),
            gradient: lanes(if backward { l * sizes.depth() } else { 0 }),
            rows: [lanes(l), lanes(l)],
            apart: lanes(if backward { 0 } else { l * l }),
        }
    }
}

/// The inputs of one block.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub sizes: Sizes,
    pub student: &'a [f32],
    pub teacher: &'a [f32],
    pub block: usize,
}

/// `[L, C]` lanes of one block, then the sum of |sum over heads of P_s - P_t|; and the signs `[L, L]` (empty: not
/// wanted).
pub(super) struct Compared<'a> {
    pub difference: &'a mut [f32],
    pub signs: &'a mut [i8],
}

multiversion! {
    /// Compares one block.
    pub(super) fn compare(inputs: Inputs<'_>, scratch: &mut Scratch, to: Compared<'_>) = compare_body;
}
#[inline(always)]
fn compare_body(inputs: Inputs<'_>, scratch: &mut Scratch, to: Compared<'_>) {
    let Inputs { sizes, block, .. } = inputs;
    let (l, d) = (sizes.tokens, sizes.depth());
    let Scratch { student, teacher, rows: [to_teacher, to_student], apart, .. } = scratch;
    let (out, sum) = to.difference.as_chunks_mut::<WIDTH>();
    apart.fill(ZERO);
    for head in 0..sizes.heads {
        student.load(sizes, inputs.student, block, head);
        teacher.load(sizes, inputs.teacher, block, head);
        let ([q_s, k_s, v_s], [q_t, k_t, v_t]) = (&student.0, &teacher.0);
        for i in 0..l {
            attend(&q_s[i * d..][..d], k_t, sizes.scale(), to_teacher);
            attend(&q_t[i * d..][..d], k_s, sizes.scale(), to_student);
            let out = &mut out[i * sizes.columns + head * d..][..d];
            mix(to_teacher, v_t, 1.0, out);
            mix(to_student, v_s, -1.0, out);
            let apart = &mut apart[i * l..][..l];
            for ((apart, p), r) in apart.iter_mut().zip(to_teacher.iter()).zip(to_student.iter()) {
                for lane in 0..WIDTH {
                    apart[lane] += p[lane] - r[lane];
                }
            }
        }
    }
    sum[0] = absolute_sum(apart, l);
    let (signs, _) = to.signs.as_chunks_mut::<WIDTH>();
    for (signs, apart) in signs.iter_mut().zip(apart.iter()) {
        for lane in 0..WIDTH {
            signs[lane] = i8::from(apart[lane] > 0.0) - i8::from(apart[lane] < 0.0);
        }
    }
}

/// Rows first, so that small and large numbers meet late.
#[inline(always)]
fn absolute_sum(values: &[Lanes], row: usize) -> f32 {
    let mut total = 0.0f64;
    for row in values.chunks_exact(row) {
        let mut sums = ZERO;
        for v in row {
            for lane in 0..WIDTH {
                sums[lane] += v[lane].abs();
            }
        }
        total += sums.iter().map(|v| f64::from(*v)).sum::<f64>();
    }
    total as f32
}

/// Gradients of one block: that of the difference `[L, G, C]`, and that of the distance over `heads L L G`.
#[derive(Clone, Copy)]
pub(super) struct Gradient<'a> {
    pub difference: &'a [f32],
    pub distance: f32,
    pub signs: &'a [i8],
}

multiversion! {
    /// The gradients `[L, 3 C]` lanes of both inputs of one block, added to zeros.
    pub(super) fn differentiate(
        inputs: Inputs<'_>, gradient: Gradient<'_>, scratch: &mut Scratch, student: &mut [f32], teacher: &mut [f32]
    ) = differentiate_body;
}
#[inline(always)]
fn differentiate_body(
    inputs: Inputs<'_>,
    gradient: Gradient<'_>,
    scratch: &mut Scratch,
    to_student: &mut [f32],
    to_teacher: &mut [f32],
) {
    let Inputs { sizes, block, .. } = inputs;
    let d = sizes.depth();
    let Scratch { student, teacher, gradient: e, rows, .. } = scratch;
    let ((to_student, _), (to_teacher, _)) = (to_student.as_chunks_mut(), to_teacher.as_chunks_mut());
    let (signs, _) = gradient.signs.as_chunks::<WIDTH>();
    for head in 0..sizes.heads {
        student.load(sizes, inputs.student, block, head);
        teacher.load(sizes, inputs.teacher, block, head);
        load(sizes, gradient.difference, [block, sizes.columns, head * d], e);
        for sign in [1.0, -1.0] {
            let (asks, tells, to_asking, to_telling) = if sign > 0.0 {
                (&student.0, &teacher.0, &mut *to_student, &mut *to_teacher)
            } else {
                (&teacher.0, &student.0, &mut *to_teacher, &mut *to_student)
            };
            let direction = Direction { sizes, head, sign, asks, tells, gradient: e };
            differentiate_direction(direction, signs, sign * gradient.distance, rows, [to_asking, to_telling]);
        }
    }
}

/// One of the two calls of one head.
#[derive(Clone, Copy)]
struct Direction<'a> {
    sizes: Sizes,
    head: usize,
    /// 1 for P_s, -1 for P_t.
    sign: f32,
    /// The side whose queries are used.
    asks: &'a [Vec<Lanes>; 3],
    /// The side whose keys and values are used.
    tells: &'a [Vec<Lanes>; 3],
    gradient: &'a [Lanes],
}

#[inline(always)]
fn differentiate_direction(
    it: Direction<'_>,
    signs: &[[i8; WIDTH]],
    distance: f32,
    [weights, slopes]: &mut [Vec<Lanes>; 2],
    [to_asking, to_telling]: [&mut [Lanes]; 2],
) {
    let (l, d, c) = (it.sizes.tokens, it.sizes.depth(), it.sizes.columns);
    let ([queries, _, _], [_, keys, values]) = (it.asks, it.tells);
    let at = |token: usize, part: usize| token * 3 * c + part * c + it.head * d;
    for i in 0..l {
        let (query, e) = (&queries[i * d..][..d], &it.gradient[i * d..][..d]);
        attend(query, keys, it.sizes.scale(), weights);
        dots(e, values, slopes);
        let mut mean = ZERO;
        for ((slope, p), s) in slopes.iter_mut().zip(weights.iter()).zip(&signs[i * l..][..l]) {
            for lane in 0..WIDTH {
                slope[lane] = it.sign * slope[lane] + distance * f32::from(s[lane]);
                mean[lane] += p[lane] * slope[lane];
            }
        }
        for (slope, p) in slopes.iter_mut().zip(weights.iter()) {
            for lane in 0..WIDTH {
                slope[lane] = it.sizes.scale() * p[lane] * (slope[lane] - mean[lane]);
            }
        }
        mix(slopes, keys, 1.0, &mut to_asking[at(i, 0)..][..d]);
        for (j, (slope, p)) in slopes.iter().zip(weights.iter()).enumerate() {
            spread(slope, query, 1.0, &mut to_telling[at(j, 1)..][..d]);
            spread(p, e, it.sign, &mut to_telling[at(j, 2)..][..d]);
        }
    }
}

/// `out += sign p x` for each column.
#[inline(always)]
fn spread(p: &Lanes, x: &[Lanes], sign: f32, out: &mut [Lanes]) {
    let p = p.map(|v| sign * v);
    for (out, x) in out.iter_mut().zip(x) {
        for lane in 0..WIDTH {
            out[lane] += p[lane] * x[lane];
        }
    }
}

/// `row_j = softmax_j(scale <q, k_j>)`.
#[inline(always)]
fn attend(q: &[Lanes], k: &[Lanes], scale: f32, row: &mut [Lanes]) {
    dots(q, k, row);
    // A NaN in the first score stays the maximum, any other one stays itself: either reaches the sum.
    let mut most = row[0];
    for v in row.iter() {
        for lane in 0..WIDTH {
            most[lane] = if v[lane] > most[lane] { v[lane] } else { most[lane] };
        }
    }
    let mut sum = ZERO;
    for v in row.iter_mut() {
        for lane in 0..WIDTH {
            v[lane] = exp_of_negative(scale * (v[lane] - most[lane]));
            sum[lane] += v[lane];
        }
    }
    let inverse = sum.map(f32::recip);
    for v in row.iter_mut() {
        for lane in 0..WIDTH {
            v[lane] *= inverse[lane];
        }
    }
}

/// `row_j = <q, k_j>`, four rows of keys at a time.
#[inline(always)]
fn dots(q: &[Lanes], k: &[Lanes], row: &mut [Lanes]) {
    let d = q.len();
    let (fours, rest) = row.as_chunks_mut::<4>();
    let (many, few) = k.split_at(fours.len() * 4 * d);
    for (out, k) in fours.iter_mut().zip(many.chunks_exact(4 * d)) {
        let mut sums = [ZERO; 4];
        for (c, q) in q.iter().enumerate() {
            for (j, sum) in sums.iter_mut().enumerate() {
                for lane in 0..WIDTH {
                    sum[lane] += q[lane] * k[j * d + c][lane];
                }
            }
        }
        *out = sums;
    }
    for (out, k) in rest.iter_mut().zip(few.chunks_exact(d)) {
        let mut sum = ZERO;
        for (q, k) in q.iter().zip(k) {
            for lane in 0..WIDTH {
                sum[lane] += q[lane] * k[lane];
            }
        }
        *out = sum;
    }
}

/// `out_c += sign sum_j p_j v_jc`, four columns at a time.
#[inline(always)]
fn mix(p: &[Lanes], v: &[Lanes], sign: f32, out: &mut [Lanes]) {
    let d = out.len();
    let (fours, rest) = out.as_chunks_mut::<4>();
    let done = 4 * fours.len();
    for (k, out) in fours.iter_mut().enumerate() {
        let mut sums = [ZERO; 4];
        for (p, v) in p.iter().zip(v.chunks_exact(d)) {
            let v = &v[4 * k..][..4];
            for (sum, v) in sums.iter_mut().zip(v) {
                for lane in 0..WIDTH {
                    sum[lane] += p[lane] * v[lane];
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(&sums) {
            for lane in 0..WIDTH {
                out[lane] += sign * sum[lane];
            }
        }
    }
    for (c, out) in rest.iter_mut().enumerate() {
        let mut sum = ZERO;
        for (p, v) in p.iter().zip(v.chunks_exact(d)) {
            for lane in 0..WIDTH {
                sum[lane] += p[lane] * v[done + c][lane];
            }
        }
        for lane in 0..WIDTH {
            out[lane] += sign * sum[lane];
        }
    }
}
