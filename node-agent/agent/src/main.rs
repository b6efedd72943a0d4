//! The node agent: programs the kernel of one node from what the API server says.

fn main() {}
