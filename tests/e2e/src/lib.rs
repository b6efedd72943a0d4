//! A real Kubernetes cluster on one machine, and the scenarios that run on it.
//!
//! [`cluster::Cluster`] is where to start; [`apiserver::ApiServer`] is an API
//! server without nodes, for tests that need no more.

pub mod apiserver;
pub mod cgroup;
pub mod cluster;
pub mod command;
pub mod controlplane;
pub mod dns;
pub mod error;
pub mod faults;
pub mod images;
pub mod keeper;
pub mod launch;
pub mod leftovers;
pub mod netns;
pub mod node;
pub mod node_config;
pub mod node_init;
pub mod pki;
pub mod plan;
pub mod process;
pub mod routers;
pub mod snapshot;
pub mod spec;
pub mod state;
pub mod timeline;
pub mod tools;
pub mod underlay;
pub mod wait;

pub use cluster::Cluster;
pub use error::{Error, Result};
pub use node::Node;
pub use spec::ClusterSpec;
