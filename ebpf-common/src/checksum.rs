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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_an_ipv4_header_adds_up() {
        // Its checksum field, 0xb861, is left out.
        let words = [0x4500_0073_u32, 0x0000_4000, 0x4011_0000, 0xc0a8_0001, 0xc0a8_00c7];
        assert_eq!(finish(words.into_iter().fold(0, add)), 0xb861);
    }

    #[test]
    fn a_carry_goes_around() {
        assert_eq!(add(u32::MAX, 2), 2);
    }
}
