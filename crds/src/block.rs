//! `IPBlock`: a piece of a pool, and who owns it.

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::rules;

/// A block of a pool. Its name follows from its range, so that two creations of one block collide in
/// the API server.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "weft.dev",
    version = "v1alpha1",
    kind = "IPBlock",
    plural = "ipblocks",
    category = "weft",
    derive = "PartialEq",
    doc = "An aligned piece of a pool that one node owns, or that was released and cools down. Weft makes and removes blocks; nobody else has to.",
    selectable = ".spec.node",
    validation = rules::block_named(),
    printcolumn(name = "CIDR", type_ = "string", json_path = ".spec.cidr"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.node"),
    printcolumn(name = "Draining", type_ = "boolean", json_path = ".spec.draining"),
    printcolumn(name = "Released", type_ = "date", json_path = ".spec.releasedAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::block_range(),
    validation = rules::block_in_pool(),
    validation = rules::block_immutable(),
    validation = rules::block_handover(),
    validation = rules::block_owner()
)]
pub struct IPBlockSpec {
    /// The range of the block.
    #[schemars(length(min = 1, max = 43))]
    pub cidr: String,

    /// The pool that it is part of, by its cidr.
    #[schemars(length(min = 1, max = 43))]
    pub pool: String,

    /// The node that owns it. Unset: nobody; see releasedAt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub node: Option<String>,

    /// UID of that node: another node of the same name is not the owner.
    #[serde(default, rename = "nodeUID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub node_uid: Option<String>,

    /// True: the node takes no new address from it; it is released once it is empty.
    #[serde(default)]
    pub draining: bool,

    /// When it was taken from its last owner. It is given to nobody until it has cooled down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<Time>,
}

/// The name of the [`IPBlock`] that covers a range: one name for one range, whoever makes it.
pub fn block_name(cidr: IpNet) -> String {
    cidr.trunc().to_string().replace(['.', ':', '/'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_has_one_name() {
        for (range, name) in [
            ("10.244.0.64/26", "10-244-0-64-26"),
            ("10.244.0.77/26", "10-244-0-64-26"),
            ("fd00:10:244::40/122", "fd00-10-244--40-122"),
            ("FD00:10:244:0::/122", "fd00-10-244---122"),
            ("2001:db8:1:2:3:4:5:0/120", "2001-db8-1-2-3-4-5-0-120"),
        ] {
            assert_eq!(block_name(range.parse().unwrap()), name, "{range}");
        }
    }

    #[test]
    fn neighbours_have_different_names() {
        let pool: IpNet = "fd00::/112".parse().unwrap();
        let names: std::collections::BTreeSet<_> =
            pool.subnets(122).unwrap().map(block_name).collect();
        assert_eq!(names.len(), 1 << 10);
    }
}
