//! The operator of Weft: observes the cluster, plans, and applies.
//!
//! | module | what it does |
//! |---|---|
//! | [`config`], [`observed`], [`memory`] | the view that a plan is made from |
//! | [`plan`] | pure: what to do |
//! | [`watch`], [`apply`] | the API server: looking and doing |
//! | [`leader`] | who of several operators acts |
//! | [`run`], [`uninstall`] | the two things that the program does |

#![warn(missing_docs)]

pub mod apply;
pub mod clock;
pub mod config;
pub mod describe;
pub mod events;
#[cfg(test)]
mod fixtures;
pub mod leader;
pub mod memory;
pub mod metrics;
pub mod observed;
pub mod plan;
pub mod run;
pub mod settings;
pub mod uninstall;
pub mod watch;
