//! The Internet checksum (RFC 1071) of a few words.

/// Adds the difference that `bpf_csum_diff` gave, or a word, to a sum that is not folded yet.
#[inline(always)]
#[must_use]
pub const fn add(sum: u32, more: u32) -> u32 {
    let (sum, carry) = sum.overflowing_add(more);
    sum + carry as u32
}

/// Folds a sum to what is written into a header.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "two folds leave 16 bits")]
pub const fn finish(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// The checksum of a header in which the word `from` became `to` (RFC 1624, equation 3).
#[inline(always)]
#[must_use]
pub const fn corrected(checksum: u16, from: u32, to: u32) -> u16 {
    finish(add(add(!checksum as u32 & 0xffff, !from), to))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_an_ipv4_header_adds_up() {
        // Its checksum field, 0xb861, is left out.
        let words = [0x4500_0073_u32, 0x0000_4000, 0x4011_0000, 0xc0a8_0001, 0xc0a8_00c7];
        assert_eq!(finish(words.into_iter().fold(0, add)), 0xb861);
    }

    proptest! {
        #[test]
        fn a_corrected_checksum_is_that_of_the_corrected_header(
            words: [u32; 5],
            index in 0..5_usize,
            to: u32,
        ) {
            let mut changed = words;
            changed[index] = to;
            let before = finish(words.into_iter().fold(0, add));
            let after = finish(changed.into_iter().fold(0, add));
            // No header is all zeros, the only one for which there are two checksums.
            prop_assume!(changed.iter().any(|word| *word != 0));
            prop_assert_eq!(corrected(before, words[index], to), after);
        }
    }

    #[test]
    fn a_carry_goes_around() {
        assert_eq!(add(u32::MAX, 2), 2);
    }
}
