//! The CNI plugin, and what the agent needs to know of it.
//!
//! The plugin is run by the container runtime once per pod interface and command. It works with files (the address
//! store) and the kernel only, so pods start and stop whether the agent runs or not. `spec` is the protocol of the CNI
//! specification without any knowledge of Weft; `command` is what each command does; `install` puts the plugin and its
//! configuration onto a node.

mod command;
mod hostports;
mod link;
mod spec;

pub mod install;
pub mod sweep;

pub use command::{PLUGIN_NAME, STATE_DIR, run};
pub use hostports::host_ports;
pub use link::pod_link;
pub use spec::{Answer, Environment, SUPPORTED_VERSIONS};
