//! A BGP speaker without sockets or clocks: bytes, routes and the time go in; bytes, routes and the next deadline come
//! out.

pub mod route;
