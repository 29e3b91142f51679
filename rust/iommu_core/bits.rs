// SPDX-License-Identifier: GPL-2.0

//! Fields of 64-bit words, named as specifications name them: by their highest and lowest bit.

/// One bit of a word; `n` is 0 to 63.
pub(crate) const fn bit(n: u32) -> u64 {
    1u64.wrapping_shl(n)
}

/// Bits `hi` down to `lo`, both inclusive and both 0 to 63.
pub(crate) const fn mask(hi: u32, lo: u32) -> u64 {
    u64::MAX.wrapping_shr(63u32.wrapping_sub(hi)) & u64::MAX.wrapping_shl(lo)
}

/// Reads bits `hi:lo` of `word`.
pub(crate) const fn get(word: u64, hi: u32, lo: u32) -> u64 {
    (word & mask(hi, lo)).wrapping_shr(lo)
}

/// Places `value` in bits `hi:lo`; bits that do not fit are dropped.
pub(crate) const fn put(value: u64, hi: u32, lo: u32) -> u64 {
    value.wrapping_shl(lo) & mask(hi, lo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_land_where_the_figure_says() {
        assert_eq!(mask(63, 0), u64::MAX);
        assert_eq!(mask(11, 9), 0xe00);
        assert_eq!(mask(63, 63), 1 << 63);
        assert_eq!(put(0x1f, 11, 9), 0xe00);
        assert_eq!(get(0xa00, 11, 9), 5);
        assert_eq!(bit(63), 1 << 63);
    }
}
