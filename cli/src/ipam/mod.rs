//! `kubectl weft ipam check`: what is allocated against what runs.

mod blocks;
mod pods;
pub mod render;
pub mod show;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::cluster::Cluster;

/// The answer.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the cluster was looked at.
    pub at: Timestamp,
    /// Nothing was found; notes do not count.
    pub clean: bool,
    /// What was compared.
    pub compared: Compared,
    /// What doesn't add up.
    pub findings: Vec<Finding>,
    /// What to do about it, by reason.
    pub advice: BTreeMap<Reason, &'static str>,
    /// What is as it should be and yet good to know.
    pub notes: Vec<Finding>,
}

/// What was compared.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// Nodes of the cluster.
    pub nodes: usize,
    /// Blocks that nodes own.
    pub blocks: usize,
    /// Running pods with an address of their own.
    pub pods: usize,
    /// Their addresses.
    pub addresses: usize,
}

/// Something that doesn't add up, or a note.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// A word for programs.
    pub reason: Reason,
    /// What it is about, such as "pod default/web-1" or "block 10.244.0.0/26".
    pub object: String,
    /// What is wrong.
    pub message: String,
}

/// The kinds of findings, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Reason {
    /// Two have one address.
    AddressConflict,
    /// A pod has an address that is not of a block of its node.
    AddressOutsideBlocks,
    /// Two blocks share addresses.
    BlocksOverlap,
    /// A block can't be understood.
    BlockInvalid,
    /// A block of no pool of the NetworkConfig.
    PoolMissing,
    /// The owner of a block doesn't exist.
    OwnerMissing,
    /// An agent uses a block that is not its node's.
    BlockNotOwned,
    /// An agent counts more addresses than pods have.
    PossibleLeak,
    /// An agent counts fewer addresses than pods have.
    AddressesUnknown,
    /// A node has blocks, and its agent says nothing about them.
    NotReported,
    /// A block was released and cools down.
    BlockCooling,
}

impl Reason {
    /// What to do about it. Empty for notes.
    fn advice(self) -> &'static str {
        match self {
            Reason::AddressConflict => {
                "packets go to either; delete all of these pods but one. It must not happen: please report it with -o json"
            }
            Reason::AddressOutsideBlocks => {
                "other nodes do not reach these pods; delete them, so that they get other addresses"
            }
            Reason::BlocksOverlap => {
                "move the pods with addresses in one of the two to other nodes (kubectl drain), then delete that IPBlock"
            }
            Reason::BlockInvalid => "nobody can use it; delete the IPBlock",
            Reason::PoolMissing => {
                "add the pool to spec.pools of the NetworkConfig, with disabled: true if it is to go"
            }
            Reason::OwnerMissing => {
                "the operator releases it within seconds; if it lasts, see `kubectl -n weft-system logs deployment/weft-operator`"
            }
            Reason::BlockNotOwned => "if it lasts, see the log of the weft-agent pod of that node",
            Reason::PossibleLeak => {
                "if it lasts, restart the weft-agent pod of the node; drain the node if that does not help"
            }
            Reason::AddressesUnknown => {
                "the agent may give these addresses out twice; see whether /var/lib/weft of the node was lost, and delete the pods of the node one by one"
            }
            Reason::NotReported => "see the weft-agent pod of the node",
            Reason::BlockCooling => "",
        }
    }
}

fn advice(findings: &[Finding]) -> BTreeMap<Reason, &'static str> {
    findings
        .iter()
        .map(|finding| (finding.reason, finding.reason.advice()))
        .collect()
}

/// A block whose range is understood.
struct Block<'a> {
    range: IpNet,
    spec: &'a weft_crds::IPBlockSpec,
}

/// The answer that follows from what is there.
pub fn check(cluster: &Cluster) -> Report {
    let mut findings = Vec::new();
    let blocks = blocks::understood(cluster, &mut findings);
    blocks::check(cluster, &blocks, &mut findings);
    let addresses = pods::addresses(cluster);
    pods::check(cluster, &blocks, &addresses, &mut findings);
    findings.sort();
    let notes = blocks::cooling(cluster, &blocks);
    let mut pods: Vec<&str> = addresses
        .iter()
        .map(|address| address.pod.as_str())
        .collect();
    pods.dedup();
    Report {
        at: cluster.now,
        clean: findings.is_empty(),
        compared: Compared {
            nodes: cluster.nodes.len(),
            blocks: blocks
                .iter()
                .filter(|block| block.spec.node.is_some())
                .count(),
            pods: pods.len(),
            addresses: addresses.len(),
        },
        advice: advice(&findings),
        findings,
        notes,
    }
}

impl Report {
    /// This look, with only the findings that an earlier one had too.
    pub fn confirming(mut self, earlier: &Report) -> Report {
        self.findings.retain(|finding| {
            earlier
                .findings
                .iter()
                .any(|known| known.reason == finding.reason && known.object == finding.object)
        });
        self.advice = advice(&self.findings);
        self.clean = self.findings.is_empty();
        self
    }
}
