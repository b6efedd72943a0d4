//! `weft-testbed`: a real Kubernetes cluster on one machine, from the command line.

fn main() {}
