//! `kubectl weft bgp`: the sessions of all nodes, and the routes of one.

mod ask;
mod paths;
mod sessions;

pub use ask::{Agent, Question};
pub use paths::{Path, render as render_paths};
pub use sessions::{render as render_sessions, report};
