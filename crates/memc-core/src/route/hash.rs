//! The hashes by which clients choose a server, bit by bit as their own code has them.

/// The first four bytes of the MD5 sum, the lowest first: libmemcached's `md5`.
pub(crate) fn md5(bytes: &[u8]) -> u32 {
    md5_words(bytes)[0]
}

/// The MD5 sum as four numbers, the lowest byte first: the points that one hash gives to a ring.
pub(crate) fn md5_words(bytes: &[u8]) -> [u32; 4] {
    let md5::Digest(sum) = md5::compute(bytes);
    std::array::from_fn(|word| {
        let at = word * 4;
        u32::from_le_bytes([sum[at], sum[at + 1], sum[at + 2], sum[at + 3]])
    })
}

/// Bob Jenkins' one-at-a-time: libmemcached's `default`.
///
/// It adds characters of C, which are signed on `x86_64`, so bytes from 128 count as negative numbers. Where
/// they are unsigned (Linux on ARM) libmemcached itself hashes such keys in another way.
pub(crate) fn one_at_a_time(bytes: &[u8]) -> u32 {
    let mut hash: u32 = 0;
    for &byte in bytes {
        hash = hash.wrapping_add_signed(i32::from(byte.cast_signed()));
        hash = hash.wrapping_add(hash << 10);
        hash ^= hash >> 6;
    }
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

/// Bits 16 to 30 of the CRC-32: python-memcached from 1.60, libmemcached's `crc`, twemproxy's `crc32`.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    (crc32_ieee(bytes) >> 16) & 0x7fff
}

/// The same, but 1 for 0: python-memcached until 1.59.
pub(crate) fn crc32_nonzero(bytes: &[u8]) -> u32 {
    crc32(bytes).max(1)
}

/// The whole CRC-32 of IEEE 802.3: gomemcache, twemproxy's `crc32a`.
pub(crate) fn crc32_ieee(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `hash('crc32b', …)`, `md5(…)` and `hash('joaat', …)` of PHP, the words turned round by hand.
    #[test]
    fn hashes_are_those_of_php() {
        assert_eq!(md5_words(b"abc"), [0x9850_0190, 0xb04f_d23c, 0x7d3f_96d6, 0x727f_e128]);
        assert_eq!(md5(b"abc"), 0x9850_0190);
        assert_eq!(one_at_a_time(b"abc"), 0xed13_1f5b);
        assert_eq!(crc32_ieee(b"abc"), 0x3524_41c2);
        assert_eq!(crc32(b"abc"), 0x3524);
    }
}
