//! Blocks against each other, against pools, and against nodes.

use ipnet::IpNet;
use kube::ResourceExt;

use super::{Block, Finding, Reason};
use crate::cluster::Cluster;
use crate::text::age;

/// The blocks in the order of their ranges; those that can't be understood are found.
pub fn understood<'a>(cluster: &'a Cluster, findings: &mut Vec<Finding>) -> Vec<Block<'a>> {
    let mut blocks = Vec::new();
    for object in &cluster.blocks {
        match object.spec.cidr.parse::<IpNet>() {
            Ok(range) => blocks.push(Block {
                range: range.trunc(),
                spec: &object.spec,
            }),
            Err(_) => findings.push(Finding {
                reason: Reason::BlockInvalid,
                object: format!("block {}", object.name_any()),
                message: format!("{:?} is not an address range", object.spec.cidr),
            }),
        }
    }
    // A range comes before the smaller ones in it.
    blocks.sort_by_key(|block| (block.range.network(), block.range.prefix_len()));
    blocks
}

/// Finds blocks that overlap, are of no pool, or belong to nobody who is there.
pub fn check(cluster: &Cluster, blocks: &[Block], findings: &mut Vec<Finding>) {
    overlaps(blocks, findings);
    pools(cluster, blocks, findings);
    owners(cluster, blocks, findings);
}

fn overlaps(blocks: &[Block], findings: &mut Vec<Finding>) {
    // Ranges are nested or apart, so in this order one overlaps the last of those that reach beyond
    // its start, or none.
    let mut reaching: Vec<&Block> = Vec::new();
    for block in blocks {
        while reaching
            .last()
            .is_some_and(|last| !last.range.contains(&block.range))
        {
            reaching.pop();
        }
        if let Some(around) = reaching.last() {
            findings.push(Finding {
                reason: Reason::BlocksOverlap,
                object: format!("block {}", block.range),
                message: format!(
                    "of {} overlaps block {} of {}",
                    owner(block),
                    around.range,
                    owner(around)
                ),
            });
        }
        reaching.push(block);
    }
}

fn owner(block: &Block) -> String {
    match &block.spec.node {
        Some(node) => format!("node {node}"),
        None => "nobody".into(),
    }
}

fn pools(cluster: &Cluster, blocks: &[Block], findings: &mut Vec<Finding>) {
    let pools: Vec<IpNet> = cluster
        .config
        .spec
        .pools
        .iter()
        .filter_map(|pool| pool.cidr.parse().ok())
        .collect();
    for block in blocks {
        if block.spec.node.is_some() && !pools.iter().any(|pool| pool.contains(&block.range)) {
            findings.push(Finding {
                reason: Reason::PoolMissing,
                object: format!("block {}", block.range),
                message: format!(
                    "of {} is in no pool of the NetworkConfig (its own was {})",
                    owner(block),
                    block.spec.pool
                ),
            });
        }
    }
}

fn owners(cluster: &Cluster, blocks: &[Block], findings: &mut Vec<Finding>) {
    let uids = cluster.node_uids();
    for block in blocks {
        let Some(node) = &block.spec.node else {
            continue;
        };
        let what = match uids.get(node) {
            None => "which does not exist",
            Some(uid) if Some(uid) != block.spec.node_uid.as_ref() => {
                "which is another one of the same name now"
            }
            Some(_) => continue,
        };
        findings.push(Finding {
            reason: Reason::OwnerMissing,
            object: format!("block {}", block.range),
            message: format!("belongs to node {node}, {what}"),
        });
    }
}

/// Notes on the blocks that were released and are given to nobody yet.
pub fn cooling(cluster: &Cluster, blocks: &[Block]) -> Vec<Finding> {
    blocks
        .iter()
        .filter_map(|block| {
            let left = seconds_to_cool(cluster, block.spec)?;
            Some(Finding {
                reason: Reason::BlockCooling,
                object: format!("block {}", block.range),
                message: format!("was released and can be given out again in {}", age(left)),
            })
        })
        .collect()
}

/// Seconds until a released block can be given out again. None: it can be, or is owned.
pub fn seconds_to_cool(cluster: &Cluster, block: &weft_crds::IPBlockSpec) -> Option<i64> {
    let released = block.released_at.as_ref()?.0.as_second();
    let cooldown = i64::from(cluster.config.spec.ipam.block_cooldown_seconds);
    let left = released + cooldown - cluster.now.as_second();
    (block.node.is_none() && left > 0).then_some(left)
}
