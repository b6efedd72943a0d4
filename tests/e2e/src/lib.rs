//! A real Kubernetes cluster on one machine, and the scenarios that run on it.

pub mod apiserver;
pub mod command;
pub mod error;
pub mod keeper;
pub mod pki;
pub mod process;
pub mod tools;
pub mod wait;

pub use error::{Error, Result};
