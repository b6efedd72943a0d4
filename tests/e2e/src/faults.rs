//! Faults of the underlay: packets between two endpoints that do not arrive.
//!
//! They are dropped in the router's namespace, where every packet passes the port of its
//! sender and the port of its receiver, on one bridge or by way of the router: the first marks
//! it, the second knows the mark. So a fault holds for all that these two say to each
//! other, whatever addresses they use, and no endpoint can see it in itself.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::command::Cmd;
use crate::error::{Context, Error, Result, read_file, write_file};
use crate::netns;
use crate::plan::Plan;
use crate::state::StateDir;

/// Drops packets from one endpoint to another. There is one per pair of endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The endpoint that sends: a node's name, `control` or `outside`.
    pub from: String,
    /// The endpoint that receives.
    pub to: String,
    /// How many packets of a million are lost.
    pub per_million: u32,
}

/// All packets.
pub const ALL: u32 = 1_000_000;

/// The faults in force.
pub fn current(dir: &StateDir) -> Result<Vec<Fault>> {
    let path = dir.file("faults.json");
    if !path.exists() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&read_file(&path)?).doing(|| format!("parse {}", path.display()))
}

/// Puts faults in force, each in the place of an earlier one of the same pair.
pub async fn add(dir: &StateDir, new: &[Fault]) -> Result<()> {
    let mut faults = current(dir)?;
    faults.retain(|old| {
        !new.iter()
            .any(|new| new.from == old.from && new.to == old.to)
    });
    faults.extend_from_slice(new);
    apply(dir, &faults).await
}

/// Ends all faults, or those between two endpoints.
pub async fn heal(dir: &StateDir, between: Option<(&str, &str)>) -> Result<()> {
    let mut faults = current(dir)?;
    faults.retain(|fault| {
        between.is_some_and(|(a, b)| {
            let pair = (fault.from.as_str(), fault.to.as_str());
            pair != (a, b) && pair != (b, a)
        })
    });
    apply(dir, &faults).await
}

async fn apply(dir: &StateDir, faults: &[Fault]) -> Result<()> {
    let plan = dir.load()?.plan();
    for name in faults.iter().flat_map(|fault| [&fault.from, &fault.to]) {
        if plan.endpoint(name).is_none() {
            let known: Vec<_> = plan
                .endpoints()
                .map(|endpoint| endpoint.name.as_str())
                .collect();
            return Err(Error::State(format!(
                "there is no {name}; there are {}",
                known.join(", ")
            )));
        }
    }
    for Fault { from, to, .. } in faults {
        if apart(&plan, from, to) {
            return Err(Error::State(format!(
                "packets from {from} to {to} pass a router of a rack, where no fault can follow them; pull the link of the router, or of one of them"
            )));
        }
    }
    let router = netns::path(&plan.router_netns());
    let nft = Cmd::new("nsenter").args([
        format!("--net={}", router.display()).as_str(),
        "nft",
        "-f",
        "-",
    ]);
    nft.stdin(ruleset(&plan, faults)).run().await?;
    write_file(
        dir.file("faults.json"),
        serde_json::json!(faults).to_string(),
    )
}

/// Whether a rack's own router is between two endpoints: the marks of packets end there.
fn apart(plan: &Plan, a: &str, b: &str) -> bool {
    let bridge = |name: &str| plan.endpoint(name).map(|endpoint| &endpoint.bridge);
    let racks = plan.subnets.iter().filter(|subnet| subnet.rack);
    let mut racks = racks.map(|subnet| &subnet.bridge);
    bridge(a) != bridge(b) && racks.any(|rack| [bridge(a), bridge(b)].contains(&Some(rack)))
}

fn ruleset(plan: &Plan, faults: &[Fault]) -> String {
    // The first line makes sure that there is something to delete.
    let mut text = String::from("table bridge faults {}\ndelete table bridge faults\n");
    if faults.is_empty() {
        return text;
    }
    let marks: BTreeMap<&str, usize> = plan.endpoints().map(|e| e.name.as_str()).zip(1..).collect();
    let mark = |name: &str| marks.get(name).copied().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "table bridge faults {{\n chain sender {{ type filter hook prerouting priority 0;"
    );
    for (name, mark) in &marks {
        let _ = writeln!(text, "  iifname \"{name}\" meta mark set {mark}");
    }
    let _ = writeln!(
        text,
        " }}\n chain receiver {{ type filter hook postrouting priority 0;"
    );
    for Fault {
        from,
        to,
        per_million,
    } in faults
    {
        let chance = if *per_million >= ALL {
            String::new()
        } else {
            format!(" numgen random mod {ALL} < {per_million}")
        };
        let _ = writeln!(
            text,
            "  meta mark {} oifname \"{to}\"{chance} counter drop",
            mark(from)
        );
    }
    text.push_str(" }\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ClusterSpec;

    #[test]
    fn faults_end_at_the_routers_of_racks() {
        let plan = Plan::new(&ClusterSpec::racks("x").validated().expect("valid"), 0);
        assert!(apart(&plan, "node1", "node3") && apart(&plan, "control", "node1"));
        assert!(!apart(&plan, "node1", "node2") && !apart(&plan, "tor-a", "node1"));
        assert!(!apart(&plan, "control", "outside"));
    }

    #[test]
    fn a_fault_matches_the_two_ports() {
        let plan = Plan::new(&ClusterSpec::demo("demo").validated().expect("valid"), 0);
        let fault = |from: &str, to: &str, per_million| Fault {
            from: from.into(),
            to: to.into(),
            per_million,
        };
        let text = ruleset(
            &plan,
            &[
                fault("node1", "node3", ALL),
                fault("control", "node1", 25_000),
            ],
        );
        // In the plan's order: control 1, outside 2, node1 3.
        assert!(text.contains("iifname \"node1\" meta mark set 3"), "{text}");
        assert!(
            text.contains("meta mark 3 oifname \"node3\" counter drop"),
            "{text}"
        );
        assert!(
            text.contains(
                "meta mark 1 oifname \"node1\" numgen random mod 1000000 < 25000 counter drop"
            ),
            "{text}"
        );
        assert_eq!(ruleset(&plan, &[]).lines().count(), 2);
    }
}
