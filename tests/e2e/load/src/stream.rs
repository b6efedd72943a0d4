//! Bytes that look random and can be made again from a seed and an offset.

/// Bytes of one word of the stream.
const WORD: u64 = 8;

/// The word at `index` of the stream of `seed` (SplitMix64, Steele et al. 2014).
fn word(seed: u64, index: u64) -> [u8; WORD as usize] {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

/// Fills `buffer` with the bytes of the stream of `seed` from byte `offset` on.
///
/// `offset` is a multiple of 8; the end of `buffer` need not be.
pub fn fill(seed: u64, offset: u64, buffer: &mut [u8]) {
    debug_assert_eq!(offset % WORD, 0);
    for (index, piece) in (offset / WORD..).zip(buffer.chunks_mut(WORD as usize)) {
        piece.copy_from_slice(&word(seed, index)[..piece.len()]);
    }
}

/// Where `data` first differs from the stream of `seed` at `offset` (a multiple of 8), in bytes
/// from the start of `data`.
pub fn first_difference(seed: u64, offset: u64, data: &[u8]) -> Option<usize> {
    debug_assert_eq!(offset % WORD, 0);
    for (position, (index, piece)) in (offset / WORD..)
        .zip(data.chunks(WORD as usize))
        .enumerate()
    {
        let want = word(seed, index);
        if piece != &want[..piece.len()] {
            let within = piece.iter().zip(want).position(|(a, b)| *a != b);
            return Some(position * WORD as usize + within.unwrap_or(0));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_same_stream_as_the_whole() {
        let mut whole = vec![0; 4096];
        fill(7, 0, &mut whole);
        let mut piece = vec![0; 1001];
        fill(7, 2048, &mut piece);
        assert_eq!(piece, whole[2048..2048 + 1001]);
        assert_eq!(first_difference(7, 2048, &piece), None);
    }

    #[test]
    fn one_flipped_bit_is_found_where_it_is() {
        let mut data = vec![0; 999];
        fill(9, 64, &mut data);
        for at in [0, 7, 8, 500, 998] {
            data[at] ^= 0x10;
            assert_eq!(first_difference(9, 64, &data), Some(at));
            data[at] ^= 0x10;
        }
    }

    #[test]
    fn another_seed_is_another_stream() {
        let mut data = vec![0; 64];
        fill(1, 0, &mut data);
        assert!(first_difference(2, 0, &data).is_some());
    }
}
