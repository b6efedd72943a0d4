//! Names, MAC addresses and numbers of the two ends, all following from the attachment's id or by chance.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;

/// The node's end of a pod's veth: `weft` and 11 hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostIfname(String);

/// A text that is not the name of a node's end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not `weft` followed by 11 lower-case hex digits")]
pub struct NotAHostIfname(String);

impl HostIfname {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The MAC address of the node's end. Given by us and the same at each making, as the pod's neighbour entries
    /// and tools that rename MAC addresses want.
    pub fn host_mac(&self) -> [u8; 6] {
        self.mac(0x2)
    }

    /// The MAC address of the pod's end.
    pub fn pod_mac(&self) -> [u8; 6] {
        self.mac(0xa)
    }

    /// A locally administered unicast address: `low` is the low half of its first byte.
    fn mac(&self, low: u8) -> [u8; 6] {
        let hash = u64::from_str_radix(&self.0[4..], 16).unwrap_or_default();
        let [_, _, first, rest @ ..] = hash.to_be_bytes();
        let mut mac = [0; 6];
        mac[0] = first << 4 | low;
        mac[1..].copy_from_slice(&rest);
        mac
    }
}

impl FromStr for HostIfname {
    type Err = NotAHostIfname;

    fn from_str(text: &str) -> Result<Self, NotAHostIfname> {
        let digits = text.strip_prefix("weft").unwrap_or_default();
        let fine = digits.len() == 11
            && digits
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match fine {
            true => Ok(Self(text.to_owned())),
            false => Err(NotAHostIfname(text.to_owned())),
        }
    }
}

impl fmt::Display for HostIfname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostIfname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of the node's end for an interface of a container.
pub fn host_ifname(container_id: &str, ifname: &str) -> HostIfname {
    // FNV-1a with the final mixing of MurmurHash3, as the upper bits are what is used.
    let bytes = container_id.bytes().chain([0]).chain(ifname.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    HostIfname(format!("weft{:011x}", hash >> 20))
}

/// A number for a new interface that is very likely free, above those that the kernel gives.
pub(super) fn random_index() -> u32 {
    let chance = RandomState::new().build_hasher().finish();
    (1 << 16) + (chance % (1 << 24)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let names: std::collections::BTreeSet<_> = (0..2000)
            .flat_map(|i| ["eth0", "net1"].map(|ifname| host_ifname(&format!("c{i}"), ifname)))
            .collect();
        assert_eq!(names.len(), 4000);
        for name in names {
            assert_eq!(name.as_str().len(), 15);
            assert_eq!(name.as_str().parse(), Ok(name.clone()));
            let (host, pod) = (name.host_mac(), name.pod_mac());
            assert!(host[0] & 3 == 2 && pod[0] & 3 == 2 && host != pod);
        }
        // The name must not change between releases: a later plugin deletes what an earlier one made.
        assert_eq!(host_ifname("abc", "eth0").as_str(), "weft674a0633fa9");
    }

    #[test]
    fn other_names_are_refused() {
        for bad in [
            "",
            "weft",
            "weft.vx4",
            "weft0123456789A",
            "weft0123456789",
            "eth0",
            "weftg123456789a",
        ] {
            assert!(bad.parse::<HostIfname>().is_err(), "{bad}");
        }
    }
}
