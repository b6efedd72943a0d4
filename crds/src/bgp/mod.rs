//! What an admin says of BGP: in the NetworkConfig about the nodes, in `BGPPeer` about routers.

mod peer;
mod rules;
mod settings;

pub use peer::{
    BGPPeer, BGPPeerSpec, BGPPeerStatus, ExportSettings, ImportSettings, PrefixRange, Reach,
    SecretKey,
};
pub use settings::{BgpSettings, NodeAsn, RouteReflectors};
