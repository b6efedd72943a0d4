//! What is wrong with a NetworkConfig that no rule of the API server can see, or that got past one.

use ipnet::IpNet;
use weft_crds::{NetworkConfigSpec, Pool};

use super::pools::{Family, overlap};
use crate::observed::Observed;

/// A pool of the spec that can be worked with.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// As the admin wrote it.
    pub text: String,
    /// Its range.
    pub cidr: IpNet,
    /// Prefix length of its blocks.
    pub block_size: u8,
    /// Whether blocks may be given out from it.
    pub usable: bool,
    /// Whether its blocks are to be emptied.
    pub draining: bool,
}

/// Something that somebody has to put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// A word for programs.
    pub reason: &'static str,
    /// The field or object, what is wrong with it, and the fix.
    pub message: String,
}

/// The outcome of the check.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// The pools, in the order of the spec. Those that can't be read are left out.
    pub pools: Vec<PoolView>,
    /// What stops the config from being carried out in full.
    pub stalls: Vec<Complaint>,
    /// What is wrong and stops nothing, because it is in use already.
    pub warnings: Vec<Complaint>,
}

impl Checked {
    /// The pool that holds a block, whatever the size of its blocks is now.
    pub fn pool_of(&self, block: IpNet) -> Option<&PoolView> {
        self.pools.iter().find(|pool| pool.cidr.contains(&block))
    }

    fn stall(&mut self, reason: &'static str, message: String) {
        self.stalls.push(Complaint { reason, message });
    }
}

/// Checks the spec against itself and against the cluster.
pub fn check(observed: &Observed) -> Checked {
    let mut checked = Checked::default();
    let Some(config) = &observed.config else {
        return checked;
    };
    read_pools(&config.spec, &mut checked);
    check_numbers(&config.spec, &mut checked);
    check_surroundings(observed, &mut checked);
    check_blocks(observed, &mut checked);
    checked
}

fn read_pools(spec: &NetworkConfigSpec, checked: &mut Checked) {
    for pool in &spec.pools {
        match read_pool(pool) {
            Ok(view) => checked.pools.push(view),
            Err(message) => checked.stall("InvalidSpec", message),
        }
    }
    for i in 0..checked.pools.len() {
        for j in 0..i {
            if overlap(checked.pools[i].cidr, checked.pools[j].cidr) {
                let message = format!(
                    "spec.pools: {} and {} overlap; make their cidr ranges disjoint",
                    checked.pools[j].text, checked.pools[i].text
                );
                checked.pools[i].usable = false;
                checked.pools[j].usable = false;
                checked.stall("InvalidSpec", message);
            }
        }
    }
}

fn read_pool(pool: &Pool) -> Result<PoolView, String> {
    let text = &pool.cidr;
    let cidr: IpNet = text.parse().map_err(|_| {
        format!("spec.pools: cidr {text} is not an address range; write it such as 10.244.0.0/16")
    })?;
    if cidr.trunc() != cidr {
        return Err(format!(
            "spec.pools: cidr {text} has bits set after the prefix length; write {}",
            cidr.trunc()
        ));
    }
    let block_size = pool.effective_block_size();
    let allowed = match Family::of(cidr) {
        Family::V4 => 16..=29,
        Family::V6 => 96..=125,
    };
    if !allowed.contains(&block_size) || block_size < cidr.prefix_len() {
        return Err(format!(
            "spec.pools: blockSize {block_size} doesn't suit {text}; choose one from {} to {}",
            cidr.prefix_len().max(*allowed.start()),
            allowed.end()
        ));
    }
    Ok(PoolView {
        text: text.clone(),
        cidr,
        block_size,
        usable: !pool.disabled,
        draining: pool.disabled,
    })
}

fn check_numbers(spec: &NetworkConfigSpec, checked: &mut Checked) {
    if !(1..1 << 24).contains(&spec.overlay.vni) {
        let message = format!(
            "spec.overlay.vni: {} is no VXLAN network identifier; choose one from 1 to 16777215",
            spec.overlay.vni
        );
        checked.stall("InvalidSpec", message);
    }
    if spec.overlay.port == 0 {
        let message = "spec.overlay.port: must be from 1 to 65535; the default is 4789".into();
        checked.stall("InvalidSpec", message);
    }
    let has_v6 = checked
        .pools
        .iter()
        .any(|p| Family::of(p.cidr) == Family::V6);
    let least = if has_v6 { 1280 } else { 576 };
    if let Some(mtu) = spec.mtu.filter(|mtu| *mtu < least) {
        let message = format!("spec.mtu: {mtu} is too small; raise it to {least} or leave it out");
        checked.stall("InvalidSpec", message);
    }
}

fn check_surroundings(observed: &Observed, checked: &mut Checked) {
    for i in 0..checked.pools.len() {
        let pool = checked.pools[i].clone();
        let mut complaints = Vec::new();
        for range in &observed.service_cidrs {
            if overlap(pool.cidr, *range) {
                complaints.push(Complaint {
                    reason: "PoolOverlapsServices",
                    message: format!(
                        "spec.pools: {} overlaps {range}, the range of Services; choose a cidr that is disjoint from it",
                        pool.text
                    ),
                });
            }
        }
        let inside = observed.nodes.values().find_map(|node| {
            let address = node.addresses.iter().find(|a| pool.cidr.contains(*a))?;
            Some((&node.name, address))
        });
        if let Some((node, address)) = inside {
            complaints.push(Complaint {
                reason: "PoolOverlapsNodes",
                message: format!(
                    "spec.pools: {} holds {address}, the address of node {node}; choose a cidr that no node has an address in",
                    pool.text
                ),
            });
        }
        let in_use = observed.blocks.values().any(|block| {
            let range = block.spec.cidr.parse::<IpNet>();
            block.spec.node.is_some() && range.is_ok_and(|range| pool.cidr.contains(&range))
        });
        if complaints.is_empty() {
            continue;
        }
        if in_use {
            checked.warnings.append(&mut complaints);
        } else {
            checked.pools[i].usable = false;
            checked.stalls.append(&mut complaints);
        }
    }
}

fn check_blocks(observed: &Observed, checked: &mut Checked) {
    let mut owned: Vec<(IpNet, &str, &str)> = Vec::new();
    let mut missing: Vec<&str> = Vec::new();
    for block in observed.blocks.values() {
        let (Some(node), Ok(range)) = (&block.spec.node, block.spec.cidr.parse::<IpNet>()) else {
            continue;
        };
        owned.push((range, node, &block.spec.cidr));
        if checked.pool_of(range).is_none() && !missing.contains(&block.spec.pool.as_str()) {
            missing.push(&block.spec.pool);
        }
    }
    for pool in missing {
        checked.stall(
            "PoolMissing",
            format!(
                "spec.pools: nodes own blocks of pool {pool}, which is not in the spec; add it back, with disabled: true if it is to go, and remove it when its blocks are released"
            ),
        );
    }
    owned.sort();
    for pair in owned.windows(2) {
        let ((a, node_a, text_a), (b, node_b, text_b)) = (pair[0], pair[1]);
        if overlap(a, b) {
            checked.stall(
                "BlocksOverlap",
                format!(
                    "IPBlocks {text_a} (node {node_a}) and {text_b} (node {node_b}) overlap; move the pods that have addresses in one of them to other nodes, then delete that IPBlock"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{cluster, config, owned};
    use serde_json::json;

    fn reasons(observed: &Observed) -> Vec<&'static str> {
        check(observed).stalls.iter().map(|c| c.reason).collect()
    }

    #[test]
    fn a_plain_config_has_nothing_wrong() {
        let observed = cluster(
            config(json!([{"cidr": "10.244.0.0/16"}, {"cidr": "fd00:10:244::/56"}])),
            &["a"],
        );
        let checked = check(&observed);
        assert!(checked.stalls.is_empty() && checked.warnings.is_empty());
        assert_eq!(checked.pools.len(), 2);
        assert_eq!(
            (checked.pools[0].block_size, checked.pools[1].block_size),
            (26, 122)
        );
    }

    #[test]
    fn each_bad_pool_is_named_with_the_fix() {
        for (pool, word) in [
            (json!({"cidr": "10.244.0.0"}), "10.244.0.0/16"),
            (json!({"cidr": "10.244.0.1/16"}), "write 10.244.0.0/16"),
            (
                json!({"cidr": "10.244.0.0/16", "blockSize": 30}),
                "from 16 to 29",
            ),
            (
                json!({"cidr": "10.244.0.0/24", "blockSize": 20}),
                "from 24 to 29",
            ),
            (
                json!({"cidr": "fd00::/64", "blockSize": 64}),
                "from 96 to 125",
            ),
        ] {
            let checked = check(&cluster(config(json!([pool])), &[]));
            assert_eq!(checked.stalls.len(), 1, "{pool}");
            assert!(
                checked.stalls[0].message.contains(word),
                "{:?}",
                checked.stalls
            );
            assert!(checked.pools.is_empty());
        }
    }

    #[test]
    fn pools_that_overlap_give_nothing_out() {
        let pools = json!([{"cidr": "10.244.0.0/16"}, {"cidr": "10.244.8.0/24"}]);
        let checked = check(&cluster(config(pools), &[]));
        assert!(checked.stalls[0].message.contains("disjoint"));
        assert!(checked.pools.iter().all(|p| !p.usable));
    }

    #[test]
    fn a_new_pool_over_services_or_nodes_stalls_and_one_in_use_only_warns() {
        let mut observed = cluster(config(json!([{"cidr": "10.244.0.0/16"}])), &["a"]);
        observed.service_cidrs = vec!["10.244.128.0/20".parse().unwrap()];
        observed.nodes.get_mut("a").unwrap().addresses = vec!["10.244.1.1".parse().unwrap()];
        assert_eq!(
            reasons(&observed),
            ["PoolOverlapsServices", "PoolOverlapsNodes"]
        );
        assert!(!check(&observed).pools[0].usable);

        let used = observed.with_block(owned("10.244.0.0/26", "a"));
        let checked = check(&used);
        assert!(checked.stalls.is_empty() && checked.pools[0].usable);
        assert_eq!(checked.warnings.len(), 2);
    }

    #[test]
    fn blocks_of_a_missing_pool_stall() {
        let observed = cluster(config(json!([{"cidr": "10.9.0.0/16"}])), &["a"])
            .with_block(owned("10.244.0.0/26", "a"))
            .with_block(owned("10.244.0.64/26", "a"));
        let checked = check(&observed);
        assert_eq!(checked.stalls.len(), 1);
        assert!(checked.stalls[0].message.contains("10.244.0.0/16"));
        assert!(checked.stalls[0].message.contains("disabled: true"));
    }

    #[test]
    fn blocks_that_overlap_stall() {
        let observed = cluster(config(json!([{"cidr": "10.244.0.0/16"}])), &["a", "b"])
            .with_block(owned("10.244.0.0/26", "a"))
            .with_block(owned("10.244.0.32/27", "b"));
        assert_eq!(reasons(&observed), ["BlocksOverlap"]);
    }

    #[test]
    fn numbers_past_the_schema_stall() {
        let mut bad = config(json!([{"cidr": "fd00:10:244::/56"}]));
        bad.spec.overlay.vni = 0;
        bad.spec.overlay.port = 0;
        bad.spec.mtu = Some(1000);
        assert_eq!(reasons(&cluster(bad, &[])), ["InvalidSpec"; 3]);
    }
}
