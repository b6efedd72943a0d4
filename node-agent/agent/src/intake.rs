//! What the API server says, taken into the [`Cluster`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Secret};
use kube::ResourceExt;
use weft_crds::{BGPPeer, IPBlock, NetworkConfig, NodeNetwork, Problem};

use crate::cluster::{Cluster, OwnNode, block_range};
use crate::secrets::Secrets;
use crate::watch::{Change, Input};

/// Of which nodes something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Of any, or something that all depend on.
    pub all: bool,
    /// Of these.
    pub names: BTreeSet<String>,
}

impl Default for Changed {
    /// At the start all is new.
    fn default() -> Self {
        Self {
            all: true,
            names: BTreeSet::new(),
        }
    }
}

/// The cluster as it is known, and what of it could not be understood.
#[derive(Debug, Default)]
pub struct Intake {
    /// The cluster.
    pub cluster: Cluster,
    changed: Changed,
    nodes_listed: bool,
    blocks_listed: bool,
    /// Passwords; they are never saved.
    pub secrets: Secrets,
    bad: BTreeMap<String, Problem>,
}

impl Intake {
    /// Goes on from what is on the disk, which was complete when it was written.
    pub fn resume(cluster: Cluster) -> Self {
        let known = cluster.config.is_some() && cluster.own.is_some();
        Self {
            cluster,
            changed: Changed::default(),
            nodes_listed: known,
            blocks_listed: known,
            secrets: Secrets::default(),
            bad: BTreeMap::new(),
        }
    }

    /// Of which nodes something changed since the last call.
    pub fn take_changed(&mut self) -> Changed {
        let none = Changed {
            all: false,
            names: BTreeSet::new(),
        };
        std::mem::replace(&mut self.changed, none)
    }

    /// Takes everything to be new.
    pub fn doubt(&mut self) {
        self.changed.all = true;
    }

    /// Whether all peers and blocks are known, so that a route which isn't wanted can go.
    pub fn complete(&self) -> bool {
        self.nodes_listed && self.blocks_listed
    }

    /// Objects that could not be understood.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.bad.values()
    }

    /// Takes one input.
    pub fn take(&mut self, input: Input) {
        match input {
            Input::Config(change) => self.config(*change),
            Input::Own(change) => self.own(*change),
            Input::Nodes(change) => self.nodes(change),
            Input::Blocks(change) => self.blocks(change),
            Input::Routers(change) => self.routers(change),
            Input::Secrets(change) => self.secrets(change),
        }
    }

    /// A NetworkConfig that is deleted stays in force: what runs is not touched.
    fn config(&mut self, change: Change<NetworkConfig>) {
        for object in present(change).0 {
            let result = self.cluster.apply_config(&object);
            self.note("NetworkConfig".into(), result);
        }
    }

    /// A node whose object is deleted goes on as it is until it is gone.
    fn own(&mut self, change: Change<Node>) {
        for node in present(change).0 {
            let addresses = node
                .status
                .iter()
                .flat_map(|status| status.addresses.iter().flatten());
            let internal_ips: Vec<IpAddr> = addresses
                .filter(|address| address.type_ == "InternalIP")
                .filter_map(|address| address.address.parse().ok())
                .collect();
            let own = Some(OwnNode {
                name: node.name_any(),
                uid: node.uid().unwrap_or_default(),
                internal_ips,
                labels: node.metadata.labels.clone().unwrap_or_default(),
            });
            self.changed.all |= self.cluster.own != own;
            self.cluster.own = own;
        }
    }

    fn nodes(&mut self, change: Change<NodeNetwork>) {
        let (objects, whole, gone) = present(change);
        if whole {
            let names: BTreeSet<String> = objects.iter().map(ResourceExt::name_any).collect();
            self.cluster.retain_nodes(&names);
            self.changed.all = true;
            self.bad.retain(|key, _| !key.starts_with("NodeNetwork/"));
            self.nodes_listed = true;
        }
        for object in objects {
            let result = self.cluster.apply_node(&object);
            self.changed.names.insert(object.name_any());
            self.note(format!("NodeNetwork/{}", object.name_any()), result);
        }
        if let Some(object) = gone {
            self.cluster.delete_node(&object.name_any());
            self.changed.names.insert(object.name_any());
            self.bad
                .remove(&format!("NodeNetwork/{}", object.name_any()));
        }
    }

    fn blocks(&mut self, change: Change<IPBlock>) {
        let (objects, whole, gone) = present(change);
        if whole {
            let ranges = objects
                .iter()
                .filter_map(|object| block_range(object).ok())
                .collect();
            self.cluster.retain_blocks(&ranges);
            self.changed.all = true;
            self.bad.retain(|key, _| !key.starts_with("IPBlock/"));
            self.blocks_listed = true;
        }
        for object in objects {
            self.note_owner(&object);
            let result = self.cluster.apply_block(&object);
            self.note_owner(&object);
            self.note(format!("IPBlock/{}", object.name_any()), result);
        }
        if let Some(object) = gone {
            self.note_owner(&object);
            self.cluster.delete_block(&object);
            self.bad.remove(&format!("IPBlock/{}", object.name_any()));
        }
    }

    fn routers(&mut self, change: Change<BGPPeer>) {
        let (objects, whole, gone) = present(change);
        let routers = &mut self.cluster.routers;
        if whole {
            routers.clear();
        }
        for object in objects {
            routers.insert(object.name_any(), object.spec);
        }
        if let Some(object) = gone {
            routers.remove(&object.name_any());
        }
    }

    /// One that is deleted stays in force.
    fn secrets(&mut self, change: Change<Secret>) {
        for object in present(change).0 {
            let name = object.name_any();
            let values = object.data.unwrap_or_default().into_iter();
            let values = values.map(|(key, value)| (key, value.0)).collect();
            self.secrets.set(&name, values);
        }
    }

    /// The owner of a block, as it is known now, gains or loses it.
    fn note_owner(&mut self, object: &IPBlock) {
        let block = block_range(object).ok();
        let owner = block.and_then(|block| self.cluster.owner(&block));
        self.changed.names.extend(owner.map(str::to_owned));
    }

    fn note(&mut self, key: String, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.bad.remove(&key);
            }
            Err(message) => {
                tracing::warn!(
                    object = key,
                    message,
                    "not understood; what was known stays"
                );
                self.bad.insert(
                    key,
                    Problem {
                        reason: "NotUnderstood".into(),
                        message,
                    },
                );
            }
        }
    }
}

/// The objects that are there, whether these are all, and the one that is gone.
fn present<K>(change: Change<K>) -> (Vec<K>, bool, Option<K>) {
    match change {
        Change::All(objects) => (objects, true, None),
        Change::Applied(object) => (vec![object], false, None),
        Change::Deleted(object) => (Vec::new(), false, Some(object)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_crds::NodeNetworkSpec;

    fn node(name: &str, ipv4: &str) -> NodeNetwork {
        NodeNetwork::new(
            name,
            NodeNetworkSpec {
                ipv4: Some(ipv4.into()),
                mac: "02:00:00:00:00:01".into(),
                ..NodeNetworkSpec::default()
            },
        )
    }

    fn names(intake: &Intake) -> Vec<String> {
        intake
            .cluster
            .peers()
            .into_iter()
            .map(|peer| peer.name)
            .collect()
    }

    #[test]
    fn a_node_deleted_while_nobody_watched_is_missing_from_the_next_list() {
        let mut intake = Intake::default();
        let all = |names: &[&str]| {
            Input::Nodes(Change::All(
                names
                    .iter()
                    .map(|name| node(name, "192.0.2.1/24"))
                    .collect(),
            ))
        };
        intake.take(all(&["b", "c"]));
        assert_eq!(names(&intake), ["b", "c"]);
        intake.take(all(&["c"]));
        assert_eq!(names(&intake), ["c"]);
    }

    #[test]
    fn it_is_complete_only_when_both_lists_have_come() {
        let mut intake = Intake::default();
        intake.take(Input::Nodes(Change::All(vec![])));
        assert!(!intake.complete());
        intake.take(Input::Blocks(Change::All(vec![])));
        assert!(intake.complete());
    }

    #[test]
    fn an_object_that_cannot_be_understood_is_a_problem_until_it_can() {
        let mut intake = Intake::default();
        intake.take(Input::Nodes(Change::Applied(node("b", "192.0.2.1/24"))));
        intake.take(Input::Nodes(Change::Applied(node("b", "elsewhere"))));
        assert_eq!(intake.problems().count(), 1);
        assert_eq!(names(&intake), ["b"], "what was known stays");
        intake.take(Input::Nodes(Change::Applied(node("b", "192.0.2.9/24"))));
        assert_eq!(intake.problems().count(), 0);
    }
}
