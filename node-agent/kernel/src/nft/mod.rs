//! The nftables tables. `inet weft`: source addresses that survive a change of path,
//! masquerading of what leaves the cluster, and host ports. `ip6 weft`: the sources of pods' IPv6
//! packets. It is a table of its own so that IPv4 packets, whose sources the kernel itself can
//! check, do not pay for a chain in their way.
//!
//! Both are one value ([`NftTable`]), compared with what the kernel has and changed by
//! one transaction. The sets `pools4` and `pools6` and the maps of host ports change
//! element by element; rules never do.

mod change;
mod conntrack;
mod elements;
mod expr;
mod hostports;
mod layout;
mod observe;
mod uapi;
mod userdata;
mod value;

pub(crate) use change::apply;
pub use hostports::{hostports_add, hostports_remove};
pub(crate) use observe::{is_about_our_table, observe};
pub(crate) use value::difference;
pub use value::{Change, HostPort, HostPortKey, HostPortTarget, NftTable};
