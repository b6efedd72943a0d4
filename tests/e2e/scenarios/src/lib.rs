//! What users do and what goes wrong, on a real cluster under traffic that can tell: the parts that
//! scenarios and benchmarks share.

pub mod balancer;
pub mod bgp;
pub mod stage;
pub mod traffic;
