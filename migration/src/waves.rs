//! Which nodes move in which wave.
//!
//! What nodes are told must not grow with their number, so a wave is not a list: each node has a position that follows
//! from its name, and one number says up to which position nodes have moved. A node that joins knows its place at once.

/// The share that every node is in.
pub const EVERYBODY: u64 = 1 << 32;

/// The position of a node, from 0 to 2^32 - 1 (FNV-1a of its name, then mixed, so that names which differ in
/// their last letter alone are far apart).
pub fn position(name: &str) -> u64 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    // The finalizer of MurmurHash3.
    let mut mixed = hash;
    mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x85eb_ca6b);
    mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35);
    u64::from(mixed ^ (mixed >> 16))
}

/// The share of wave number `wave` of `waves`, from 1, if these are the nodes: so many more of them move each time.
pub fn share<'a>(wave: u32, waves: u32, names: impl Iterator<Item = &'a str>) -> u64 {
    if wave >= waves {
        return EVERYBODY;
    }
    let mut positions: Vec<u64> = names.map(position).collect();
    positions.sort_unstable();
    let count = (positions.len() as u64 * u64::from(wave)).div_ceil(u64::from(waves));
    let last = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_sub(1));
    last.and_then(|last| positions.get(last))
        .map_or(0, |position| position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_nodes_move_one_by_one() {
        let names = ["node1", "node2", "node3"];
        let moved = |wave| {
            let share = share(wave, 3, names.into_iter());
            names.iter().filter(|name| position(name) < share).count()
        };
        assert_eq!([1, 2, 3].map(moved), [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn waves_grow_evenly_to_everybody(count in 0usize..300, waves in 1u32..20) {
            let names: Vec<String> = (0..count).map(|n| format!("node-{n}")).collect();
            let mut before = 0;
            for wave in 1..=waves {
                let share = share(wave, waves, names.iter().map(String::as_str));
                let moved = names.iter().filter(|name| position(name) < share).count();
                prop_assert!(moved >= before);
                // Two names may have one position.
                prop_assert!(moved - before <= count.div_ceil(waves as usize) + 1);
                before = moved;
            }
            prop_assert_eq!(before, count);
        }
    }
}
