//! The arithmetic of a pool: which of its blocks overlap nothing that exists.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order in which things are done for them.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The family of a range.
    pub fn of(range: IpNet) -> Family {
        match range {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }

    /// Its name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

/// Addresses of a block that pods can have: not offset 0, not the node pod address, and not the
/// last one of an IPv4 block.
pub fn capacity(block: IpNet) -> u64 {
    let reserved = match block {
        IpNet::V4(_) => 3,
        IpNet::V6(_) => 2,
    };
    size(block)
        .saturating_sub(reserved)
        .try_into()
        .unwrap_or(u64::MAX)
}

/// Blocks that a pool holds in all, capped at what fits in 63 bits, the largest integer of the API.
pub fn blocks_in(pool: IpNet, block_size: u8) -> u64 {
    let bits = u32::from(block_size.saturating_sub(pool.prefix_len()));
    1u64.checked_shl(bits)
        .filter(|n| *n <= i64::MAX as u64)
        .unwrap_or(i64::MAX as u64)
}

/// Hands out blocks of one pool, lowest first, none of which overlaps anything that is taken.
#[derive(Debug)]
pub struct FreeBlocks {
    family: Family,
    block_size: u8,
    /// The first address that may still be free.
    cursor: Option<u128>,
    /// The last address of the pool.
    last: u128,
    /// What is taken in the pool: disjoint, ascending, next one last.
    taken: Vec<(u128, u128)>,
}

impl FreeBlocks {
    /// `taken` may hold anything: other families, other pools, blocks of other sizes, overlaps.
    pub fn new(pool: IpNet, block_size: u8, taken: impl Iterator<Item = IpNet>) -> Self {
        let (first, last) = bounds(pool);
        let mut ranges: Vec<_> = taken
            .filter(|range| Family::of(*range) == Family::of(pool))
            .map(bounds)
            .filter(|(start, end)| *end >= first && *start <= last)
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (start, end) in ranges {
            match merged.last_mut() {
                Some(before) if start <= before.1 => before.1 = before.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged.reverse();
        FreeBlocks {
            family: Family::of(pool),
            block_size,
            cursor: (block_size >= pool.prefix_len()).then_some(first),
            last,
            taken: merged,
        }
    }
}

impl Iterator for FreeBlocks {
    type Item = IpNet;

    fn next(&mut self) -> Option<IpNet> {
        let host_bits = u32::from(self.family.bits().checked_sub(self.block_size)?);
        let span = 1u128.checked_shl(host_bits)? - 1;
        loop {
            let start = self.cursor?;
            let end = start.checked_add(span).filter(|end| *end <= self.last)?;
            match self.taken.last() {
                Some((_, taken_end)) if *taken_end < start => {
                    self.taken.pop();
                }
                Some((taken_start, taken_end)) if *taken_start <= end => {
                    let aligned = taken_end | span;
                    self.cursor = aligned.checked_add(1);
                }
                _ => {
                    self.cursor = end.checked_add(1);
                    return network(self.family, start, self.block_size);
                }
            }
        }
    }
}

/// Whether two ranges share an address.
pub fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

fn size(range: IpNet) -> u128 {
    let (first, last) = bounds(range);
    (last - first).saturating_add(1)
}

fn bounds(range: IpNet) -> (u128, u128) {
    let number = |address| match address {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    };
    (number(range.network()), number(range.broadcast()))
}

fn network(family: Family, start: u128, prefix: u8) -> Option<IpNet> {
    match family {
        Family::V4 => {
            let address = u32::try_from(start).ok()?;
            Ipv4Net::new(address.into(), prefix).ok().map(IpNet::V4)
        }
        Family::V6 => Ipv6Net::new(start.into(), prefix).ok().map(IpNet::V6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn free(pool: &str, size: u8, taken: &[&str]) -> Vec<String> {
        FreeBlocks::new(net(pool), size, taken.iter().map(|t| net(t)))
            .map(|b| b.to_string())
            .collect()
    }

    #[test]
    fn blocks_come_in_order_and_end_with_the_pool() {
        assert_eq!(
            free("10.0.0.0/24", 26, &[]),
            [
                "10.0.0.0/26",
                "10.0.0.64/26",
                "10.0.0.128/26",
                "10.0.0.192/26"
            ]
        );
        assert_eq!(free("10.0.0.0/26", 26, &[]), ["10.0.0.0/26"]);
        assert!(free("10.0.0.0/26", 26, &["10.0.0.0/26"]).is_empty());
        assert!(free("10.0.0.0/26", 24, &[]).is_empty());
    }

    #[test]
    fn ends_of_the_address_space_are_no_trap() {
        assert_eq!(free("255.255.255.0/24", 25, &[]).len(), 2);
        assert_eq!(
            free("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120", 121, &[]).len(),
            2
        );
        assert_eq!(FreeBlocks::new(net("::/0"), 1, [].into_iter()).count(), 2);
    }

    #[test]
    fn foreign_sizes_and_pools_are_gone_around() {
        let taken = [
            "10.0.0.70/32",
            "10.0.0.0/27",
            "10.0.0.0/28",
            "192.0.2.0/24",
            "fd00::/64",
        ];
        assert_eq!(
            free("10.0.0.0/24", 26, &taken),
            ["10.0.0.128/26", "10.0.0.192/26"]
        );
        assert!(free("10.0.0.0/24", 26, &["10.0.0.0/8"]).is_empty());
    }

    #[test]
    fn counts() {
        assert_eq!(blocks_in(net("10.244.0.0/16"), 26), 1024);
        assert_eq!(blocks_in(net("fd00::/8"), 122), i64::MAX as u64);
        assert_eq!(capacity(net("10.244.0.0/26")), 61);
        assert_eq!(capacity(net("fd00::/122")), 62);
        assert_eq!(capacity(net("fd00::/32")), u64::MAX);
    }

    proptest! {
        #[test]
        fn no_block_overlaps_what_is_taken_and_none_is_missed(
            size in 24u8..=30,
            taken in prop::collection::vec((any::<u16>(), 20u8..=32), 0..12),
        ) {
            let pool = net("10.1.0.0/20");
            let taken: Vec<IpNet> = taken
                .into_iter()
                .map(|(low, prefix)| {
                    let address = u32::from_be_bytes([10, 1, 0, 0]) + u32::from(low) % 8192;
                    IpNet::V4(Ipv4Net::new(address.into(), prefix).unwrap().trunc())
                })
                .collect();
            let found: Vec<IpNet> = FreeBlocks::new(pool, size, taken.iter().copied()).collect();
            let expected: Vec<IpNet> = pool
                .subnets(size)
                .unwrap()
                .filter(|block| taken.iter().all(|t| !overlap(*t, *block)))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
