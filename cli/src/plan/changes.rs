//! Which fields of the spec change, and what each change does by itself.

use serde::Serialize;
use serde_json::Value;
use weft_crds::{Mode, NetworkConfigSpec};

/// A field of the spec that changes.
#[derive(Debug, PartialEq, Serialize)]
pub struct Change {
    /// Its path, such as spec.overlay.encapsulation.
    pub field: String,
    /// What it is; unset: nothing.
    pub from: Value,
    /// What it will be.
    pub to: Value,
    /// What that does to paths.
    pub effect: Effect,
    /// What that means, in words.
    pub meaning: &'static str,
}

/// What a change does to paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// No path moves.
    None,
    /// Paths move at once, and nothing is lost.
    MovesPaths,
    /// Packets are lost.
    LosesPackets,
    /// The cluster goes to another mode, phase by phase.
    Migrates,
}

/// What changes, by field. `in_use` are the modes that nodes send in.
pub fn changes(
    present: &NetworkConfigSpec,
    wanted: &NetworkConfigSpec,
    in_use: &[Mode],
) -> Vec<Change> {
    let value = |spec| serde_json::to_value(spec).unwrap_or_default();
    let mut fields = Vec::new();
    differences("spec".into(), &value(present), &value(wanted), &mut fields);
    let change = |(field, from, to): (String, Value, Value)| {
        let (effect, meaning) = effect(&field, in_use);
        Change {
            field,
            from,
            to,
            effect,
            meaning,
        }
    };
    fields.into_iter().map(change).collect()
}

fn differences(field: String, from: &Value, to: &Value, all: &mut Vec<(String, Value, Value)>) {
    const UNSET: &Value = &Value::Null;
    match (from, to) {
        (Value::Object(one), Value::Object(other)) => {
            for (key, from) in one {
                let to = other.get(key).unwrap_or(UNSET);
                differences(format!("{field}.{key}"), from, to, all);
            }
            for (key, to) in other.iter().filter(|(key, _)| !one.contains_key(*key)) {
                differences(format!("{field}.{key}"), UNSET, to, all);
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            for index in 0..one.len().max(other.len()) {
                let (from, to) = (one.get(index), other.get(index));
                let field = format!("{field}[{index}]");
                differences(field, from.unwrap_or(UNSET), to.unwrap_or(UNSET), all);
            }
        }
        _ if from == to => {}
        _ => all.push((field, from.clone(), to.clone())),
    }
}

fn effect(field: &str, in_use: &[Mode]) -> (Effect, &'static str) {
    let part = field.split(['.', '[']).nth(1).unwrap_or_default();
    let uses = |mode| in_use.contains(&mode);
    match (part, field) {
        ("mode", _) => (Effect::Migrates, "the cluster goes there phase by phase"),
        ("overlay", _) if !uses(Mode::Overlay) => (
            Effect::None,
            "no node is in mode Overlay: nothing moves now",
        ),
        ("overlay", "spec.overlay.encapsulation") => (
            Effect::MovesPaths,
            "paths between nodes on one subnet move at once, on each node as soon as it hears of it; both ends accept both, so nothing is lost",
        ),
        ("overlay", _) => (
            Effect::LosesPackets,
            "packets in VXLAN are lost until all nodes have heard of it; change it in mode BGP instead, where nobody uses it",
        ),
        ("bgp", _) if !uses(Mode::BGP) => {
            (Effect::None, "no node is in mode BGP: nothing moves now")
        }
        ("bgp", _) => (
            Effect::MovesPaths,
            "BGP sessions that it concerns begin anew; routes stay meanwhile, if the BGP peers can restart gracefully",
        ),
        ("nodeAddress", _) => (
            Effect::MovesPaths,
            "a node that finds another address is reached by it as soon as the others hear of it, each at its own time",
        ),
        ("mtu", _) => (
            Effect::None,
            "pods get it while they run: a smaller one at once, a larger one after all nodes accept it",
        ),
        ("kubeProxy", _) => (
            Effect::None,
            "no path moves; kube-proxy has to be changed at the same moment",
        ),
        ("pools" | "ipam", _) => (
            Effect::None,
            "no path moves; pods that run keep their addresses",
        ),
        ("agent", _) => (
            Effect::None,
            "agents are replaced one after the other; packets go on",
        ),
        ("migration", _) => (Effect::None, "says how migrations go, and moves nothing"),
        _ => (Effect::None, "no path moves"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::cluster;
    use weft_crds::{Encapsulation, Pool};

    fn fields(change: impl FnOnce(&mut NetworkConfigSpec), in_use: Mode) -> Vec<(String, Effect)> {
        let present = cluster(&[]).config.spec;
        let mut wanted = present.clone();
        change(&mut wanted);
        let changes = changes(&present, &wanted, &[in_use]);
        changes
            .into_iter()
            .map(|change| (change.field, change.effect))
            .collect()
    }

    #[test]
    fn what_stays_is_no_change() {
        assert_eq!(fields(|_| (), Mode::Overlay), []);
    }

    #[test]
    fn what_moves_paths_depends_on_the_mode_in_use() {
        let encapsulation =
            |spec: &mut NetworkConfigSpec| spec.overlay.encapsulation = Encapsulation::CrossSubnet;
        let field = "spec.overlay.encapsulation".to_owned();
        assert_eq!(
            fields(encapsulation, Mode::Overlay),
            [(field.clone(), Effect::MovesPaths)]
        );
        assert_eq!(fields(encapsulation, Mode::BGP), [(field, Effect::None)]);
        assert_eq!(
            fields(|spec| spec.overlay.port = 8472, Mode::Overlay),
            [("spec.overlay.port".into(), Effect::LosesPackets)]
        );
    }

    #[test]
    fn entries_of_lists_are_named() {
        let change = |spec: &mut NetworkConfigSpec| {
            spec.pools[1].disabled = true;
            spec.pools.push(Pool {
                cidr: "10.245.0.0/16".into(),
                block_size: None,
                disabled: false,
            });
        };
        let fields: Vec<String> = fields(change, Mode::Overlay)
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(fields, ["spec.pools[1].disabled", "spec.pools[2]"]);
    }
}
