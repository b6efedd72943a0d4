//! This node as a BGP speaker.

pub mod topology;
