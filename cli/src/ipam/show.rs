//! `kubectl weft ipam show`: the pools and blocks, and how full they are.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;
use weft_crds::BlockUsage;

use super::blocks::{seconds_to_cool, understood};
use crate::cluster::Cluster;
use crate::counts;
use crate::text::{Fit, Item, Tone, age, table, without_domains};

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// When the cluster was looked at.
    pub at: Timestamp,
    /// The pools, in the order of the spec.
    pub pools: Vec<PoolReport>,
    /// The blocks, in the order of their addresses.
    pub blocks: Vec<BlockReport>,
}

/// A pool.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolReport {
    /// Its range.
    pub cidr: String,
    /// Prefix length of its blocks.
    pub block_size: u8,
    /// It gives nothing out any more.
    pub disabled: bool,
    /// Blocks that it holds in all; unset while the operator hasn't said.
    pub blocks: Option<u64>,
    /// Blocks that nodes own.
    pub owned: u64,
    /// Blocks that were released and are given to nobody yet.
    pub cooling: u64,
}

/// A block.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockReport {
    /// Its range.
    pub cidr: String,
    /// Its pool.
    pub pool: String,
    /// Its owner.
    pub node: Option<String>,
    /// Addresses that pods can have; unset without a report.
    pub capacity: Option<u64>,
    /// Addresses that pods have, at the least; unset without a report.
    pub used: Option<u64>,
    /// Addresses that pods have, at the most; unset without a report.
    pub used_at_most: Option<u64>,
    /// What it is there for.
    pub state: State,
    /// Seconds until it can be given out again, while it cools down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cools_for_seconds: Option<i64>,
}

/// What a block is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum State {
    /// Its node takes addresses from it.
    InUse,
    /// It is to be emptied.
    Draining,
    /// It was released a short time ago.
    Cooling,
    /// It can be given out.
    Free,
}

/// The answer that follows from what is there.
pub fn report(cluster: &Cluster) -> Report {
    let mut usages: HashMap<(String, IpNet), &BlockUsage> = HashMap::new();
    for report in &cluster.reports {
        for usage in &report.spec.blocks {
            if let Ok(range) = usage.cidr.parse() {
                usages.insert((report.name_any(), range), usage);
            }
        }
    }
    let understood = understood(cluster, &mut Vec::new());
    let blocks: Vec<BlockReport> = understood
        .iter()
        .map(|block| {
            let node = block.spec.node.clone();
            let usage = node
                .clone()
                .and_then(|node| usages.get(&(node, block.range)));
            let cools_for_seconds = seconds_to_cool(cluster, block.spec);
            BlockReport {
                cidr: block.range.to_string(),
                pool: block.spec.pool.clone(),
                capacity: usage.map(|usage| usage.capacity),
                used: usage.map(|usage| counts::span(usage).0),
                used_at_most: usage.map(|usage| counts::span(usage).1),
                state: match (&node, block.spec.draining, cools_for_seconds) {
                    (Some(_), true, _) => State::Draining,
                    (Some(_), false, _) => State::InUse,
                    (None, _, Some(_)) => State::Cooling,
                    (None, _, None) => State::Free,
                },
                node,
                cools_for_seconds,
            }
        })
        .collect();
    Report {
        at: cluster.now,
        pools: pools(cluster, &blocks),
        blocks,
    }
}

fn pools(cluster: &Cluster, blocks: &[BlockReport]) -> Vec<PoolReport> {
    let count = |range: Option<IpNet>, wanted: &dyn Fn(State) -> bool| {
        let inside = blocks.iter().filter(|block| {
            let block = block.cidr.parse::<IpNet>();
            range
                .zip(block.ok())
                .is_some_and(|(pool, block)| pool.contains(&block))
        });
        inside.filter(|block| wanted(block.state)).count() as u64
    };
    let status = cluster.config.status.as_ref();
    cluster
        .config
        .spec
        .pools
        .iter()
        .map(|pool| {
            let range = pool.cidr.parse().ok();
            let known = status.and_then(|s| s.pools.iter().find(|known| known.cidr == pool.cidr));
            PoolReport {
                cidr: pool.cidr.clone(),
                block_size: pool.effective_block_size(),
                disabled: pool.disabled,
                blocks: known.map(|known| known.blocks),
                owned: count(range, &|state| {
                    matches!(state, State::InUse | State::Draining)
                }),
                cooling: count(range, &|state| state == State::Cooling),
            }
        })
        .collect()
}

/// The answer as text of lines of at most `width`.
pub fn render(report: &Report, width: u16) -> String {
    let mut text = pool_table(report, width);
    text.push('\n');
    match report.blocks.is_empty() {
        true => text.push_str("No block was given out yet.\n"),
        false => text.push_str(&block_table(report, width)),
    }
    text
}

fn pool_table(report: &Report, width: u16) -> String {
    let columns = [
        ("POOL", Fit::Shorten),
        ("BLOCK SIZE", Fit::Whole),
        ("BLOCKS", Fit::Whole),
        ("OWNED", Fit::Whole),
        ("COOLING", Fit::Whole),
        ("STATE", Fit::Whole),
    ];
    let rows = report
        .pools
        .iter()
        .map(|pool| {
            vec![
                Item::plain(&pool.cidr),
                Item::plain(format!("/{}", pool.block_size)),
                Item::plain(pool.blocks.map_or("-".into(), large)),
                Item::plain(pool.owned.to_string()),
                Item::plain(pool.cooling.to_string()),
                Item::plain(if pool.disabled { "disabled" } else { "in use" }),
            ]
        })
        .collect();
    table(&columns, rows, width)
}

fn block_table(report: &Report, width: u16) -> String {
    let columns = [
        ("BLOCK", Fit::Shorten),
        ("NODE", Fit::Shorten),
        ("USED", Fit::Whole),
        ("FREE", Fit::Whole),
        ("FULL", Fit::Whole),
        ("STATE", Fit::Whole),
    ];
    let owners = report
        .blocks
        .iter()
        .filter_map(|block| block.node.as_deref());
    let names = without_domains(owners);
    let rows = report
        .blocks
        .iter()
        .map(|block| block_row(block, &names))
        .collect();
    table(&columns, rows, width)
}

fn block_row(block: &BlockReport, names: &BTreeMap<&str, &str>) -> Vec<Item> {
    let dash = || Item::plain("-");
    let owner = block.node.as_deref().unwrap_or("-");
    let node = Item::plain(names.get(owner).copied().unwrap_or(owner));
    let (used, free, full) = match (block.used, block.used_at_most, block.capacity) {
        (Some(used), Some(most), Some(capacity)) => {
            let percent = (used * 100).checked_div(capacity).unwrap_or_default();
            let tone = if used >= capacity {
                Tone::Bad
            } else {
                Tone::Plain
            };
            (
                Item::plain(counts::at_least(used, used == most)),
                Item::plain(counts::at_least(
                    capacity.saturating_sub(most),
                    used == most,
                )),
                Item::new(
                    format!("{} %", counts::at_least(percent, used == most)),
                    tone,
                ),
            )
        }
        _ => (dash(), dash(), dash()),
    };
    let state = match block.state {
        State::InUse => "in use".into(),
        State::Draining => "draining".into(),
        State::Cooling => {
            format!(
                "cools for {}",
                age(block.cools_for_seconds.unwrap_or_default())
            )
        }
        State::Free => "free".into(),
    };
    vec![
        Item::plain(&block.cidr),
        node,
        used,
        free,
        full,
        Item::plain(state),
    ]
}

/// A number that may be too large to be of interest in full.
fn large(number: u64) -> String {
    match number {
        0..1_000_000 => number.to_string(),
        _ => "> 1 million".into(),
    }
}
