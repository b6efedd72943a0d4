//! Reconciles NetworkConfig: allocates blocks, rolls the node agents, reports status.

fn main() {}
