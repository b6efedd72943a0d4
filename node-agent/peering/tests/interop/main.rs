//! Our speaker and those of others, on the real thing: BIRD 2, FRR and GoBGP in network namespaces. Each line of what
//! these tests print is one of the table of what is interoperable.
#![allow(clippy::unwrap_used, clippy::panic)] // In helpers, as in tests.

mod add_path;
mod daemon;
mod lab;
mod passwords;
mod reflection;
mod restart;
mod routes;
mod scene;
mod sessions;
mod weft;
