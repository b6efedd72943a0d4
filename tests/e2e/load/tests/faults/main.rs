//! One fault at a time, made on purpose, is noticed as exactly that; and no fault is none.

mod clean;
mod common;
mod dns;
mod namespaces;
mod relay;
mod tcp;
mod udp;
