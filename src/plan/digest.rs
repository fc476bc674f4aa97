//! A number that identifies a plan or a text: equal contents have equal numbers, and accidental
//! differences show. It knows numbers only.

use super::mix;

/// A 64-bit digest, the same on every machine. It detects accidental differences, not forgeries:
/// anybody can construct two contents with the same digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Adds a number.
    pub fn add(&mut self, number: u64) {
        self.0 = mix(self.0.rotate_left(17) ^ mix(number.wrapping_add(0x9E37_79B9_7F4A_7C15)));
    }

    /// Adds bytes and their number.
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
        self.add(bytes.len() as u64);
    }

    /// The digest.
    pub fn value(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> u64 {
        let mut digest = Digest::default();
        digest.add_bytes(bytes);
        digest.value()
    }

    #[test]
    fn every_change_of_one_bit_shows() {
        let text = b"what was written, and a little more".to_vec();
        for bit in 0..text.len() * 8 {
            let mut other = text.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of(&other), of(&text), "bit {bit}");
        }
        assert_ne!(of(b""), of(b"\0"));
        assert_ne!(of(b"ab"), of(b"ba"));
    }
}
