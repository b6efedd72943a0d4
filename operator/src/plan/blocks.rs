//! Who gets which block, and when one is taken back.
//!
//! A node has one block of each family at once when it exists, and another as soon as fewer addresses
//! are left than [`low_water`]. A block that is not the home of the node pod address and has long been
//! empty is drained, released when the agent says that it is, and cools down before anybody gets it.
//! Draining is never taken back: so a report of "drained" can't be about an earlier time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weft_crds::{BlockUsage, IPBlock, IPBlockSpec, NetworkConfig, block_name};

use super::check::{Checked, PoolView};
use super::pools::{Family, FreeBlocks, capacity};
use super::{Action, Plan};
use crate::memory::Memory;
use crate::observed::{NodeFacts, Now, Observed};

/// For how long a node has to be absent from the watch before its blocks are taken; a fresh look at
/// the API server follows.
pub const ABSENT_FOR: Duration = Duration::from_secs(5);

/// A need for a block that can't be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    /// The node.
    pub node: String,
    /// The family.
    pub family: Family,
    /// Why.
    pub cause: ShortageCause,
}

/// Why a need for a block can't be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShortageCause {
    /// No pool has a block, and the node has none either.
    WithoutBlock,
    /// No pool has a block for a node that is nearly full.
    NearlyFull,
    /// The node has as many as it may have, and is nearly full.
    AtMaximum,
}

/// A node gets another block when fewer free addresses than this are left: a quarter of a block, at
/// least 4 and at most 12. Agents report exact counts from 16 free addresses down, so it is always
/// seen in time.
pub fn low_water(block: IpNet) -> u64 {
    (capacity(block) / 4).clamp(4, 12)
}

/// What the owner of a block reports about it. None: nobody owns it, or the owner hasn't reported it.
pub fn usage_of<'a>(observed: &'a Observed, block: &IPBlock) -> Option<&'a BlockUsage> {
    let node = observed.nodes.get(block.spec.node.as_ref()?)?;
    if block.spec.node_uid.as_deref() != Some(node.uid.as_str()) {
        return None;
    }
    let range = block.spec.cidr.parse::<IpNet>().ok()?;
    let report = observed.report_of(node)?;
    report
        .spec
        .blocks
        .iter()
        .find(|usage| usage.cidr.parse() == Ok(range))
}

/// A block with its range understood.
struct Piece<'a> {
    range: IpNet,
    block: &'a IPBlock,
}

/// Adds to the plan what is to be done with blocks, and returns the needs that can't be met.
pub fn plan(
    observed: &Observed,
    memory: &Memory,
    checked: &Checked,
    config: &NetworkConfig,
    now: Now,
    plan: &mut Plan,
) -> Vec<Shortage> {
    let pieces: Vec<Piece> = observed
        .blocks
        .values()
        .filter_map(|block| {
            let range = block.spec.cidr.parse().ok()?;
            Some(Piece { range, block })
        })
        .collect();
    let mut held: BTreeMap<(&str, Family), Vec<&Piece>> = BTreeMap::new();
    let mut free: Vec<&Piece> = Vec::new();
    for piece in &pieces {
        match (&piece.block.spec.node, &piece.block.spec.node_uid) {
            (Some(node), Some(uid)) if observed.has_node(node, uid) => held
                .entry((node, Family::of(piece.range)))
                .or_default()
                .push(piece),
            (Some(node), Some(uid)) => release_of_absent(piece, node, uid, memory, now, plan),
            _ => free.push(piece),
        }
    }
    let mut needs = Vec::new();
    let mut shortages = Vec::new();
    for node in observed.nodes.values() {
        for family in Family::ALL {
            let mine = held.get(&(node.name.as_str(), family));
            let mine = mine.map_or(&[][..], Vec::as_slice);
            take_back(observed, memory, checked, config, node, mine, now, plan);
            let offers = checked
                .pools
                .iter()
                .any(|pool| !pool.draining && Family::of(pool.cidr) == family);
            match need(observed, checked, config, mine) {
                Some(ShortageCause::AtMaximum) => shortages.push(Shortage {
                    node: node.name.clone(),
                    family,
                    cause: ShortageCause::AtMaximum,
                }),
                Some(cause) if offers => needs.push((cause, family, node)),
                _ => {}
            }
        }
    }
    // Nodes with nothing come before nodes that want more.
    needs.sort_by(|a, b| (a.0, a.1, &a.2.name).cmp(&(b.0, b.1, &b.2.name)));
    let mut stock = Stock::new(observed, checked, config, &pieces, free, now, plan);
    for (cause, family, node) in needs {
        match stock.take(family, node) {
            Some(action) => plan.actions.push(action),
            None => shortages.push(Shortage {
                node: node.name.clone(),
                family,
                cause,
            }),
        }
    }
    shortages
}

/// Takes the block of a node that has been absent for long enough.
fn release_of_absent(
    piece: &Piece,
    node: &str,
    uid: &str,
    memory: &Memory,
    now: Now,
    plan: &mut Plan,
) {
    let id = (node.to_string(), uid.to_string());
    let since = memory.absent_since.get(&id).copied().unwrap_or(now.mono);
    if now.mono < since + ABSENT_FOR {
        plan.look_at(since + ABSENT_FOR);
        return;
    }
    plan.actions.push(Action::ReleaseBlock {
        block: Box::new(released(piece.block, now)),
        gone: Some(id),
    });
}

/// Releases what is drained, and drains what is in a pool that goes or has long been empty.
#[allow(clippy::too_many_arguments)]
fn take_back(
    observed: &Observed,
    memory: &Memory,
    checked: &Checked,
    config: &NetworkConfig,
    node: &NodeFacts,
    mine: &[&Piece],
    now: Now,
    plan: &mut Plan,
) {
    for piece in mine {
        if piece.block.spec.draining {
            if usage_of(observed, piece.block).is_some_and(|usage| usage.drained) {
                plan.actions.push(Action::ReleaseBlock {
                    block: Box::new(released(piece.block, now)),
                    gone: None,
                });
            }
        } else if checked.pool_of(piece.range).is_some_and(|p| p.draining) {
            plan.actions.push(drain(piece.block));
        }
    }
    let Some(home) = home_of(observed, node, mine) else {
        return;
    };
    let active: Vec<_> = mine
        .iter()
        .filter(|p| !p.block.spec.draining && checked.pool_of(p.range).is_some_and(|p| !p.draining))
        .collect();
    let free: u64 = active.iter().map(|p| free_in(observed, p)).sum();
    let wait = Duration::from_secs(u64::from(config.spec.ipam.empty_block_seconds));
    for piece in &active {
        let Some(since) = memory.empty_since.get(&name_of(piece.block)) else {
            continue;
        };
        // Twice the low-water mark has to stay free, or the node would want another block at once.
        let left = free.saturating_sub(capacity(piece.range));
        if piece.range == home || left < 2 * low_water(piece.range) {
            continue;
        }
        if now.mono < *since + wait {
            plan.look_at(*since + wait);
            continue;
        }
        // One at a time: the next look counts again.
        plan.actions.push(drain(piece.block));
        return;
    }
}

/// The block of one family that holds the node pod address. It is never taken for being empty.
fn home_of(observed: &Observed, node: &NodeFacts, mine: &[&Piece]) -> Option<IpNet> {
    let network = observed.network_of(node)?;
    let addresses = network.spec.node_pod_addresses.iter();
    let mut addresses = addresses.filter_map(|text| text.parse::<IpAddr>().ok());
    addresses.find_map(|address| {
        let home = mine.iter().find(|piece| piece.range.contains(&address));
        home.map(|piece| piece.range)
    })
}

fn free_in(observed: &Observed, piece: &Piece) -> u64 {
    match usage_of(observed, piece.block) {
        Some(usage) => usage.capacity.saturating_sub(usage.used),
        // The agent hasn't seen it yet: all of it is free.
        None => capacity(piece.range),
    }
}

/// Whether a node needs a block of a family, given those it has.
fn need(
    observed: &Observed,
    checked: &Checked,
    config: &NetworkConfig,
    mine: &[&Piece],
) -> Option<ShortageCause> {
    let active: Vec<_> = mine
        .iter()
        .filter(|p| !p.block.spec.draining && checked.pool_of(p.range).is_none_or(|p| !p.draining))
        .collect();
    let Some(largest) = active.iter().min_by_key(|piece| piece.range.prefix_len()) else {
        return Some(ShortageCause::WithoutBlock);
    };
    let free: u64 = active.iter().map(|piece| free_in(observed, piece)).sum();
    if free >= low_water(largest.range) {
        return None;
    }
    let most = usize::try_from(config.spec.ipam.max_blocks_per_node).unwrap_or(usize::MAX);
    if mine.len() < most {
        Some(ShortageCause::NearlyFull)
    } else {
        Some(ShortageCause::AtMaximum)
    }
}

/// What can be given out: first blocks that were owned before and have cooled down, the one released
/// longest ago first, so that objects don't pile up; then the lowest ones that overlap nothing.
struct Stock<'a> {
    shelves: Vec<Shelf<'a>>,
}

struct Shelf<'a> {
    pool: &'a PoolView,
    /// The one to give out next is last.
    cooled: Vec<&'a IPBlock>,
    fresh: FreeBlocks,
}

impl<'a> Stock<'a> {
    fn new(
        observed: &Observed,
        checked: &'a Checked,
        config: &NetworkConfig,
        pieces: &[Piece<'a>],
        free: Vec<&Piece<'a>>,
        now: Now,
        plan: &mut Plan,
    ) -> Self {
        let mut shelves: Vec<Shelf> = checked
            .pools
            .iter()
            .filter(|pool| pool.usable)
            .map(|pool| Shelf {
                pool,
                cooled: Vec::new(),
                fresh: FreeBlocks::new(pool.cidr, pool.block_size, pieces.iter().map(|p| p.range)),
            })
            .collect();
        let cooldown = i64::from(config.spec.ipam.block_cooldown_seconds);
        let reported = reported_ranges(observed);
        for piece in free {
            let since = piece.block.spec.released_at.as_ref().map(|at| at.0);
            let age = since.map_or(i64::MAX, |at| now.wall.as_second() - at.as_second());
            if age < cooldown {
                // A clock that was set back must not make this wait for more than a cool-down.
                let rest = (cooldown - age).clamp(1, cooldown.max(1));
                plan.look_at(now.mono + Duration::from_secs(rest.unsigned_abs()));
                continue;
            }
            // The agent of its last owner hasn't seen yet that it was released.
            if reported.contains(&piece.range) {
                continue;
            }
            let shelf = shelves.iter_mut().find(|shelf| {
                shelf.pool.cidr.contains(&piece.range)
                    && shelf.pool.block_size == piece.range.prefix_len()
                    && piece.block.spec.pool == shelf.pool.text
                    && !pieces.iter().any(|p| {
                        !std::ptr::eq(p.block, piece.block)
                            && super::pools::overlap(p.range, piece.range)
                    })
            });
            match shelf {
                Some(shelf) => shelf.cooled.push(piece.block),
                None if fits_nowhere(checked, piece) => plan
                    .actions
                    .push(Action::DeleteBlock(Box::new(piece.block.clone()))),
                None => {}
            }
        }
        for shelf in &mut shelves {
            shelf.cooled.sort_by_key(|block| {
                std::cmp::Reverse(block.spec.released_at.as_ref().map(|t| t.0))
            });
        }
        Stock { shelves }
    }

    fn take(&mut self, family: Family, node: &NodeFacts) -> Option<Action> {
        self.shelves
            .iter_mut()
            .filter(|shelf| Family::of(shelf.pool.cidr) == family)
            .find_map(|shelf| {
                if let Some(block) = shelf.cooled.pop() {
                    return Some(Action::AssignBlock(Box::new(given(block, node))));
                }
                let range = shelf.fresh.next()?;
                let spec = IPBlockSpec {
                    cidr: range.to_string(),
                    pool: shelf.pool.text.clone(),
                    node: Some(node.name.clone()),
                    node_uid: Some(node.uid.clone()),
                    draining: false,
                    released_at: None,
                };
                let block = IPBlock::new(&block_name(range), spec);
                Some(Action::CreateBlock(Box::new(block)))
            })
    }
}

/// The blocks that nodes which are there report.
fn reported_ranges(observed: &Observed) -> BTreeSet<IpNet> {
    observed
        .nodes
        .values()
        .filter_map(|node| observed.report_of(node))
        .flat_map(|report| &report.spec.blocks)
        .filter_map(|usage| usage.cidr.parse().ok())
        .collect()
}

/// Whether no pool of the spec could ever give this block out.
fn fits_nowhere(checked: &Checked, piece: &Piece) -> bool {
    checked.pool_of(piece.range).is_none_or(|pool| {
        pool.block_size != piece.range.prefix_len()
            || pool.text != piece.block.spec.pool
            || pool.draining
    })
}

fn drain(block: &IPBlock) -> Action {
    let mut block = block.clone();
    block.spec.draining = true;
    Action::DrainBlock(Box::new(block))
}

fn released(block: &IPBlock, now: Now) -> IPBlock {
    let mut block = block.clone();
    block.spec.node = None;
    block.spec.node_uid = None;
    block.spec.draining = false;
    block.spec.released_at = Some(Time(now.wall));
    block
}

fn given(block: &IPBlock, node: &NodeFacts) -> IPBlock {
    let mut block = block.clone();
    block.spec.node = Some(node.name.clone());
    block.spec.node_uid = Some(node.uid.clone());
    block.spec.draining = false;
    block.spec.released_at = None;
    block
}

fn name_of(block: &IPBlock) -> String {
    block.metadata.name.clone().unwrap_or_default()
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
