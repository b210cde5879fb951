//! MD5 (RFC 1321), because that is the checksum published with the CIFAR archives. It detects damage, not malice.

/// Shift amounts of the four rounds.
const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// A running MD5 sum.
pub(crate) struct Md5 {
    state: [u32; 4],
    pending: Vec<u8>,
    length: u64,
    sines: [u32; 64],
}

impl Md5 {
    pub fn new() -> Self {
        Self {
            state: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476],
            pending: Vec::with_capacity(64),
            length: 0,
            // T[i] = floor(2^32 |sin(i + 1)|), RFC 1321 section 3.4.
            sines: std::array::from_fn(|i| (4_294_967_296.0 * ((i + 1) as f64).sin().abs()) as u32),
        }
    }

    pub fn update(&mut self, mut data: &[u8]) {
        self.length = self.length.wrapping_add(data.len() as u64);
        if !self.pending.is_empty() {
            let take = data.len().min(64 - self.pending.len());
            self.pending.extend_from_slice(&data[..take]);
            data = &data[take..];
            if self.pending.len() < 64 {
                return;
            }
            let block = std::mem::take(&mut self.pending);
            self.block(&block);
        }
        let blocks = data.chunks_exact(64);
        self.pending.extend_from_slice(blocks.remainder());
        blocks.for_each(|b| self.block(b));
    }

    /// The sum in lower-case hexadecimal.
    pub fn finish(mut self) -> String {
        let bits = self.length.wrapping_mul(8);
        let mut tail = vec![0x80];
        let zeros = (119 - self.pending.len() % 64) % 64;
        tail.resize(1 + zeros, 0);
        tail.extend_from_slice(&bits.to_le_bytes());
        self.update(&tail);
        self.state.iter().flat_map(|w| w.to_le_bytes()).map(|b| format!("{b:02x}")).collect()
    }

    fn block(&mut self, block: &[u8]) {
        let word = |i: usize| u32::from_le_bytes([block[4 * i], block[4 * i + 1], block[4 * i + 2], block[4 * i + 3]]);
        let [mut a, mut b, mut c, mut d] = self.state;
        for i in 0..64 {
            let (f, g) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            let sum = a.wrapping_add(f).wrapping_add(self.sines[i]).wrapping_add(word(g));
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        for (state, value) in self.state.iter_mut().zip([a, b, c, d]) {
            *state = state.wrapping_add(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(parts: &[&[u8]]) -> String {
        let mut md5 = Md5::new();
        parts.iter().for_each(|p| md5.update(p));
        md5.finish()
    }

    #[test]
    fn the_suite_of_the_rfc() {
        assert_eq!(sum(&[b""]), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(sum(&[b"abc"]), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(sum(&[b"message digest"]), "f96b697d7cb7938d525a2f31aaf161d0");
        let digits = b"12345678901234567890123456789012345678901234567890123456789012345678901234567890";
        assert_eq!(sum(&[digits]), "57edf4a22be3c955ac49da2e2107b67a");
    }

    #[test]
    fn cutting_the_input_changes_nothing() {
        let data: Vec<u8> = (0..300).map(|i| (i * 7) as u8).collect();
        for n in [0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 300] {
            let whole = sum(&[&data[..n]]);
            for cut in [0, 1, 63, 64, 100] {
                let cut = cut.min(n);
                assert_eq!(sum(&[&data[..cut], &data[cut..n]]), whole);
            }
        }
    }
}
