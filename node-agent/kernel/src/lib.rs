//! Desired and observed kernel network state, their difference, and applying it.

mod action;
mod apply;
pub mod capability;
mod ethtool;
mod kernel;
mod memory;
mod names;
pub mod netlink;
pub mod nft;
mod object;
mod observe;
mod plan;
pub mod pod;
mod reconciler;
mod record;
mod state;
#[cfg(any(test, feature = "testing"))]
#[allow(missing_docs, clippy::expect_used)]
pub mod testing;
pub mod udp;
pub mod underlay;
mod watch;

pub use action::Action;
pub use apply::{Failure, NEXTHOP_IDS, apply, failures};
pub use kernel::Kernel;
pub use names::{DeviceName, Mac, ParseError};
pub use observe::{Foreign, ForeignAddress, ForeignRoute, ForeignVxlan, Observed, Scope, observe};
pub use plan::plan;
pub use reconciler::{Reconciler, Report};
pub use state::{
    FILTER_ADDRESS, Family, FdbKey, Mark, NeighbourKey, Nexthop, OwnAddress, PROTOCOL, Route,
    RouteKey, RouteTarget, Rule, SEND_TABLE, Setting, SettingKey, State, Vxlan,
};
pub use watch::{Changes, Watcher};
