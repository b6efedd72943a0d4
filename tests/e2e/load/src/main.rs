//! Traffic that can tell: what was sent, lost, doubled, late or reset.

fn main() {}
