//! Desired and observed kernel network state, their difference, and applying it.

pub mod netlink;
pub mod pod;
