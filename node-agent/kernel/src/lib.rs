//! Desired and observed kernel network state, their difference, and applying it.
//!
//! [`State`] is all of Weft in one kernel, as a value. [`observe`] reads it, [`plan`] is the
//! pure difference of two, in an order that loses no packet, [`apply`] carries a plan out.
//! [`Reconciler`] does the three in turn and remembers; [`Watcher`] tells it what others
//! changed. Uninstalling is reconciling to `State::default()`.
//!
//! Whatever bears Weft's tags is Weft's: protocol number 87 on routes, nexthops and
//! addresses, VXLAN devices whose name begins with `weft`, the nftables tables `inet weft` and
//! `ip6 weft`.
//! Nothing else is ever changed.

mod action;
mod apply;
pub mod capability;
mod ethtool;
mod filter;
mod kernel;
mod memory;
mod names;
pub mod netlink;
pub mod nft;
mod object;
mod observe;
mod part;
mod plan;
pub mod pod;
mod reconciler;
mod record;
mod sockopt;
mod state;
pub mod tcp;
#[cfg(any(test, feature = "testing"))]
#[allow(missing_docs, clippy::expect_used)]
pub mod testing;
pub mod udp;
pub mod underlay;
mod watch;

pub use action::Action;
pub use apply::{Failure, GROUP_IDS, NEXTHOP_IDS, apply, failures};
pub use filter::SourceFilter;
pub use kernel::Kernel;
pub use names::{DeviceName, Mac, ParseError};
pub use nix::errno::Errno;
pub use observe::{Foreign, ForeignAddress, ForeignRoute, ForeignVxlan, Observed, Scope, observe};
pub use part::Part;
pub use plan::plan;
pub use reconciler::{Reconciler, Report};
pub use state::{
    FILTER_ADDRESS, Family, FdbKey, MAIN_TABLE, NeighbourKey, Nexthop, OwnAddress, PROTOCOL, Route,
    RouteKey, RouteTarget, SEND_METRIC, Setting, SettingKey, State, Vxlan,
};
pub use watch::{Changes, Watcher};
