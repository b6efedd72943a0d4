//! Two operators that both believe they lead, on one API server, with caches that lag: no block is given
//! to two nodes, and none overlaps another.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use futures::{StreamExt, TryStreamExt, stream};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, ListParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use weft_crds::IPBlock;
use weft_operator::leader::Leadership;

const NODES: usize = 500;
const REPLACED: usize = 250;
/// Listing thousands of blocks is work for the API server, too.
const PAUSE: Duration = Duration::from_millis(500);

/// Who owned each block, one entry for each change, as the API server told it in order.
type History = Arc<Mutex<BTreeMap<String, Vec<Option<String>>>>>;

/// Follows every version of every block. The API server closes a watch that is slow; it goes on where
/// it was, so nothing is missed.
async fn record(client: Client, mut version: String, history: History) {
    let api: Api<IPBlock> = Api::all(client);
    loop {
        let parameters = WatchParams::default();
        let mut events = api.watch(&parameters, &version).await.unwrap().boxed();
        while let Ok(Some(event)) = events.try_next().await {
            let (block, gone) = match event {
                WatchEvent::Added(block) | WatchEvent::Modified(block) => (block, false),
                WatchEvent::Deleted(block) => (block, true),
                WatchEvent::Error(error) => panic!("blocks can't be followed: {error:?}"),
                WatchEvent::Bookmark(mark) => {
                    version = mark.metadata.resource_version;
                    continue;
                }
            };
            version = block.resource_version().unwrap();
            let owner = block.spec.node_uid.clone().filter(|_| !gone);
            let mut history = history.lock().unwrap();
            let owners = history.entry(block.name_any()).or_default();
            if owners.last() != Some(&owner) {
                owners.push(owner);
            }
        }
    }
}

async fn create_nodes(client: &Client, numbers: std::ops::Range<usize>) -> Vec<Node> {
    let names = numbers.map(|i| format!("node-{i}"));
    stream::iter(names)
        .map(|name| async move { create_node(client, &name).await })
        .buffer_unordered(8)
        .collect()
        .await
}

fn conflicts(text: &str) -> u64 {
    let lines = text
        .lines()
        .filter(|line| line.contains("outcome=\"conflict\""));
    let blocks = lines.filter(|line| line.contains("_block\""));
    blocks
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

/// Every node that there is owns a block of each family.
async fn all_served(client: &Client, nodes: usize) {
    until("every node has its blocks", async || {
        tokio::time::sleep(PAUSE).await;
        let owners: BTreeSet<(String, bool)> = blocks(client)
            .await
            .iter()
            .filter_map(|b| Some((b.spec.node.clone()?, b.spec.cidr.contains(':'))))
            .collect();
        owners.len() == 2 * nodes
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_operators_never_give_one_block_twice() {
    let (server, client) = prepared().await;
    let history = History::default();
    let none = Api::<IPBlock>::all(client.clone());
    let none = none.list(&ListParams::default()).await.unwrap();
    let start_at = none.metadata.resource_version.unwrap();
    let recorder = tokio::spawn(record(client.clone(), start_at, Arc::clone(&history)));
    // Pools just large enough, so that both reach for the same blocks and for released ones.
    create_config(
        &client,
        json!([{"cidr": "10.244.0.0/18", "blockSize": 28}, {"cidr": "fd00:10:244::/112", "blockSize": 122}]),
    )
    .await;
    let mut running = Vec::new();
    let mut metrics = Vec::new();
    for _ in 0..2 {
        let operator = operator(&server.client().await.unwrap(), Leadership::always());
        metrics.push(operator.metrics.clone());
        running.push(start(operator));
    }
    let nodes = create_nodes(&client, 0..NODES).await;
    all_served(&client, NODES).await;

    // Nearly all are full and want more.
    let mut ranges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for block in blocks(&client).await {
        if let Some(node) = block.spec.node {
            ranges.entry(node).or_default().push(block.spec.cidr);
        }
    }
    stream::iter(&nodes)
        .for_each_concurrent(8, |node| {
            report_of(&client, node, 1, &ranges[&node.name_any()], 61)
        })
        .await;
    until("second blocks", async || {
        blocks(&client).await.len() >= 4 * NODES * 9 / 10
    })
    .await;
    // Half of the nodes go and as many come: released blocks are given out again.
    let api: Api<Node> = Api::all(client.clone());
    for node in nodes.iter().take(REPLACED) {
        api.delete(&node.name_any(), &DeleteParams::default())
            .await
            .unwrap();
    }
    create_nodes(&client, NODES..NODES + REPLACED).await;
    all_served(&client, NODES).await;
    running.iter().for_each(|task| task.abort());

    let existing = blocks(&client).await;
    let mut ranges: Vec<IpNet> = existing
        .iter()
        .map(|b| b.spec.cidr.parse().unwrap())
        .collect();
    ranges.sort();
    for pair in ranges.windows(2) {
        assert!(
            !pair[0].contains(&pair[1]),
            "{} and {} overlap",
            pair[0],
            pair[1]
        );
    }
    until("the recorder has caught up", async || {
        assert!(!recorder.is_finished(), "the recorder ended");
        let history = history.lock().unwrap();
        let last = |block: &IPBlock| history.get(&block.name_any())?.last().cloned();
        existing
            .iter()
            .all(|block| last(block).as_ref() == Some(&block.spec.node_uid))
    })
    .await;
    recorder.abort();
    let history = history.lock().unwrap();
    let mut given = 0;
    for (block, owners) in history.iter() {
        for pair in owners.windows(2) {
            assert!(
                pair[0].is_none() || pair[1].is_none(),
                "{block} went straight from {:?} to {:?}",
                pair[0],
                pair[1]
            );
        }
        given += owners.iter().flatten().count();
    }
    let conflicts: Vec<u64> = metrics
        .iter()
        .map(|m| conflicts(&m.text().unwrap()))
        .collect();
    println!("{given} blocks given, conflicts of each operator: {conflicts:?}");
    assert!(given >= 2_000, "{given} allocations");
    assert!(conflicts.iter().sum::<u64>() > 0, "the two never raced");
}
