//! The nftables table `inet weft`: source addresses that survive a change of path,
//! masquerading of what leaves the cluster, and host ports.

mod value;

pub use value::{HostPortKey, HostPortTarget, NftTable};
