//! Sixty-four groups at once: plain arithmetic on lanes.
use crate::exponential::exp_of_negative;
use crate::simd::multiversion;

/// Groups side by side. Four vectors of AVX-512: loops over fewer lanes are unrolled before they are vectorised, and then
/// run across the columns with gathers, several times slower.
pub(super) const WIDTH: usize = 64;

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

impl Side {
    fn clear(&mut self) {
        self.0.iter_mut().for_each(|part| part.fill(ZERO));
    }

    /// Into the columns of a head of `[L, 3 C]`.
    #[inline(always)]
    fn store(&self, sizes: Sizes, head: usize, to: &mut [Lanes]) {
        let d = sizes.depth();
        for (token, to) in to.chunks_exact_mut(3 * sizes.columns).enumerate() {
            for (part, from) in self.0.iter().enumerate() {
                to[part * sizes.columns + head * d..][..d].copy_from_slice(&from[token * d..][..d]);
            }
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
    /// The gradients of one head of student and teacher. Side by side they stay in the cache, which their places in the
    /// rows of the result, a multiple of 4 KiB apart, would not.
    slopes: [Side; 2],
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
            slopes: [(); 2].map(|()| Side::new(if backward { sizes } else { Sizes { tokens: 0, ..sizes } })),
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
    let Scratch { student, teacher, gradient: e, slopes: [student_slopes, teacher_slopes], rows, .. } = scratch;
    let ((to_student, _), (to_teacher, _)) = (to_student.as_chunks_mut(), to_teacher.as_chunks_mut());
    let (signs, _) = gradient.signs.as_chunks::<WIDTH>();
    for head in 0..sizes.heads {
        student.load(sizes, inputs.student, block, head);
        teacher.load(sizes, inputs.teacher, block, head);
        load(sizes, gradient.difference, [block, sizes.columns, head * d], e);
        student_slopes.clear();
        teacher_slopes.clear();
        let forth = Direction { sizes, sign: 1.0, asks: &student.0, tells: &teacher.0, gradient: e };
        let to = [&mut *student_slopes, &mut *teacher_slopes];
        differentiate_direction(forth, signs, gradient.distance, rows, to);
        let back = Direction { sign: -1.0, asks: &teacher.0, tells: &student.0, ..forth };
        let to = [&mut *teacher_slopes, &mut *student_slopes];
        differentiate_direction(back, signs, -gradient.distance, rows, to);
        student_slopes.store(sizes, head, to_student);
        teacher_slopes.store(sizes, head, to_teacher);
    }
}

/// One of the two calls of one head.
#[derive(Clone, Copy)]
struct Direction<'a> {
    sizes: Sizes,
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
    [to_asking, to_telling]: [&mut Side; 2],
) {
    let (l, d) = (it.sizes.tokens, it.sizes.depth());
    let ([queries, _, _], [_, keys, values]) = (it.asks, it.tells);
    let ([to_queries, _, _], [_, to_keys, to_values]) = (&mut to_asking.0, &mut to_telling.0);
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
        mix(slopes, keys, 1.0, &mut to_queries[i * d..][..d]);
        let to = to_keys.chunks_exact_mut(d).zip(to_values.chunks_exact_mut(d));
        for ((slope, p), (to_key, to_value)) in slopes.iter().zip(weights.iter()).zip(to) {
            spread(slope, query, 1.0, to_key);
            spread(p, e, it.sign, to_value);
        }
    }
}

/// `sum + a b` on every lane.
#[inline(always)]
fn multiply_add(sum: Lanes, a: &Lanes, b: &Lanes) -> Lanes {
    let mut out = sum;
    for lane in 0..WIDTH {
        out[lane] += a[lane] * b[lane];
    }
    out
}

/// `out += sign p x` for each column.
#[inline(always)]
fn spread(p: &Lanes, x: &[Lanes], sign: f32, out: &mut [Lanes]) {
    let p = p.map(|v| sign * v);
    for (out, x) in out.iter_mut().zip(x) {
        *out = multiply_add(*out, &p, x);
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
        let mut weight = *v;
        for lane in 0..WIDTH {
            weight[lane] = exp_of_negative(scale * (weight[lane] - most[lane]));
        }
        for lane in 0..WIDTH {
            sum[lane] += weight[lane];
        }
        *v = weight;
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
        let ((a, b), (c, e)) = (k[..2 * d].split_at(d), k[2 * d..].split_at(d));
        let (mut s0, mut s1, mut s2, mut s3) = (ZERO, ZERO, ZERO, ZERO);
        for ((((q, a), b), c), e) in q.iter().zip(a).zip(b).zip(c).zip(e) {
            s0 = multiply_add(s0, q, a);
            s1 = multiply_add(s1, q, b);
            s2 = multiply_add(s2, q, c);
            s3 = multiply_add(s3, q, e);
        }
        *out = [s0, s1, s2, s3];
    }
    for (out, k) in rest.iter_mut().zip(few.chunks_exact(d)) {
        *out = q.iter().zip(k).fold(ZERO, |sum, (q, k)| multiply_add(sum, q, k));
    }
}

/// `out_c += sign sum_j p_j v_jc`, four columns at a time.
#[inline(always)]
fn mix(p: &[Lanes], v: &[Lanes], sign: f32, out: &mut [Lanes]) {
    let d = out.len();
    let (fours, rest) = out.as_chunks_mut::<4>();
    let done = 4 * fours.len();
    for (k, out) in fours.iter_mut().enumerate() {
        let (mut s0, mut s1, mut s2, mut s3) = (ZERO, ZERO, ZERO, ZERO);
        for (p, v) in p.iter().zip(v.chunks_exact(d)) {
            let [a, b, c, e] = &v.as_chunks::<4>().0[k];
            s0 = multiply_add(s0, p, a);
            s1 = multiply_add(s1, p, b);
            s2 = multiply_add(s2, p, c);
            s3 = multiply_add(s3, p, e);
        }
        let sign = [sign; WIDTH];
        for (out, sum) in out.iter_mut().zip([s0, s1, s2, s3]) {
            *out = multiply_add(*out, &sign, &sum);
        }
    }
    for (c, out) in rest.iter_mut().enumerate() {
        let sum = p.iter().zip(v.chunks_exact(d)).fold(ZERO, |sum, (p, v)| multiply_add(sum, p, &v[done + c]));
        *out = multiply_add(*out, &[sign; WIDTH], &sum);
    }
}
