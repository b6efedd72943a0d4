//! A BGP speaker without sockets or clocks: bytes, routes and the time go in; bytes, routes and the next deadline come
//! out.

mod as_path;
pub mod policy;
pub mod rib;
pub mod route;
pub mod session;
pub mod speaker;
pub mod wire;
