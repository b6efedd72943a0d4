//! kubectl weft: what the network does, and whether its addresses add up.

fn main() {}
