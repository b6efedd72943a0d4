//! Small stores for the tests.

use tempfile::TempDir;
use weft_ipam::{
    Attached, AttachmentId, Error, NodeBlock, NodeConfig, NodePodAddresses, PodRef, Request, Store,
};

pub fn node(blocks: &[&str]) -> NodeConfig {
    NodeConfig {
        blocks: blocks
            .iter()
            .map(|cidr| NodeBlock {
                cidr: cidr.parse().unwrap(),
                allocatable: true,
            })
            .collect(),
        node_pod_addresses: NodePodAddresses::default(),
        mtu: 1450,
        link_mtu: 1450,
    }
}

pub fn store_with(blocks: &[&str]) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    store.lock().unwrap().write_node(&node(blocks)).unwrap();
    (dir, store)
}

pub fn id(name: &str) -> AttachmentId {
    AttachmentId::new(name, "eth0")
}

pub fn request(name: &str) -> Request {
    Request {
        id: id(name),
        network: "weft".into(),
        netns: format!("/run/netns/{name}"),
        host_ifname: format!("weft{name}"),
        pod: PodRef {
            namespace: "ns".into(),
            name: name.into(),
            uid: "u".into(),
        },
        host_ports: Vec::new(),
    }
}

pub fn attach(store: &Store, name: &str) -> Result<Attached, Error> {
    store.lock()?.attach(request(name))
}

/// Ends all attachments that are not in `valid`.
#[allow(dead_code)]
pub fn gc(store: &Store, valid: &std::collections::BTreeSet<AttachmentId>) {
    let mut locked = store.lock().unwrap();
    for stale in locked.stale("weft", valid) {
        locked.detach(&stale.id).unwrap();
    }
}
