//! The CNI plugin that the container runtime runs.

fn main() {}
