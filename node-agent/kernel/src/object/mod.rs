//! The kernel objects that make up the state: how each is written to the kernel
//! and read from it. One file per kind, the two directions beside each other.

pub(crate) mod address;
pub(crate) mod link;
pub(crate) mod neighbour;
pub(crate) mod nexthop;
pub(crate) mod route;
pub(crate) mod uapi;

use crate::state::Family;

/// The number of an address family.
pub(crate) fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => uapi::AF_INET,
        Family::V6 => uapi::AF_INET6,
    }
}

/// The address family of a number.
pub(crate) fn family_of(number: u8) -> Option<Family> {
    match number {
        uapi::AF_INET => Some(Family::V4),
        uapi::AF_INET6 => Some(Family::V6),
        _ => None,
    }
}
