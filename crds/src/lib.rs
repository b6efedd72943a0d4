//! The API of Weft, group `weft.dev/v1alpha1`: resource types and their validation, no behaviour.
//!
//! | kind | who writes it | who reads it |
//! |---|---|---|
//! | [`NetworkConfig`] | the admin (spec), the operator (status) | everyone |
//! | [`BGPPeer`] | the admin (spec), the operator (status) | every agent |
//! | [`IPBlock`] | the operator | everyone |
//! | [`NodeNetwork`] | the agent of that node | every agent |
//! | [`NodeReport`] | the agent of that node | the operator, `kubectl weft` |
//!
//! The manifests in `crds/yaml` are made from these types by the `crdgen` binary, and a test fails
//! when they are stale.

// Several columns of one kind may have one type; the lint takes that for a slip.
#![allow(clippy::duplicated_attributes)]

mod bgp;
mod block;
mod config;
mod migration;
mod node;
mod reference;
mod rules;
mod schema;
mod status;

pub use bgp::{
    BGPPeer, BGPPeerSpec, BGPPeerStatus, BgpSettings, ExportSettings, ImportSettings, NodeAsn,
    PrefixRange, Reach, RouteReflectors, SecretKey,
};
pub use block::{IPBlock, IPBlockSpec, block_name};
pub use config::{
    AgentSettings, Encapsulation, IpamSettings, KubeProxySettings, LogLevel, Mode, NetworkConfig,
    NetworkConfigSpec, NodeAddressMethod, NodeAddressSettings, OverlaySettings, Pool,
};
pub use migration::{Approval, MigrationSettings, UnableNodes, annotation};
pub use node::{
    BgpSession, BgpState, BlockUsage, LONGEST_MESSAGE, ModesReport, NodeBgp, NodeNetwork,
    NodeNetworkSpec, NodeReport, NodeReportSpec, PeerPath, PeerReport, Problem, TrialsReport,
    USAGE_STEP,
};
pub use reference::reference;
pub use status::{NetworkConfigStatus, NodeCount, PoolStatus, Progress, condition};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every kind here.
pub const GROUP: &str = "weft.dev";

/// The name that the one [`NetworkConfig`] of a cluster has.
pub const CONFIG_NAME: &str = "default";

/// Every definition, in the order in which they should be applied.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [
        NetworkConfig::crd(),
        BGPPeer::crd(),
        IPBlock::crd(),
        NodeNetwork::crd(),
        NodeReport::crd(),
    ]
    .map(schema::tidied)
    .to_vec()
}

/// The definitions as files: name and content.
///
/// # Errors
/// A definition can't be written as YAML.
pub fn manifests() -> Result<Vec<(String, String)>, serde_yaml::Error> {
    definitions()
        .iter()
        .map(|definition| {
            let name = definition.metadata.name.clone().unwrap_or_default();
            Ok((format!("{name}.yaml"), serde_yaml::to_string(definition)?))
        })
        .collect()
}
