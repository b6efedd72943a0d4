//! Who of several operators acts: the election, and its driver on a Lease of the API server.

mod driver;
pub mod machine;
#[cfg(test)]
mod simulation;

pub use driver::{Leadership, identity, run};
