//! The sockets and the clock of a BGP speaker.
//!
//! [`start`] runs a [`weft_bgp::speaker::Speaker`] as a [`Plan`] says, and tells how things are as a [`View`]. The
//! driver compares each plan with the one before and does only what differs. It installs no routes.

mod answer;
mod connection;
mod driver;
mod listener;
mod plan;
mod publish;
mod query;
mod view;
mod words;

pub use driver::{Handle, start};
pub use plan::{BadPassword, PORT, Password, PeerPlan, Plan, Settings};
pub use query::{Path, Queries};
pub use view::{Facts, NextHop, Prefixes, Route, Routes, Status, View};
