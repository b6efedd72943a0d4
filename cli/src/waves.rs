//! Which nodes come to send in the new mode when.

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use serde::Serialize;
use weft_crds::{MigrationSettings, Mode};
use weft_migration::{EVERYBODY, Migration, position, share};

/// Nodes that come to send in the new mode at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wave {
    /// From 1; 0: the canaries.
    pub number: u32,
    /// Their names.
    pub nodes: Vec<String>,
}

/// Whether a node is one of those that move first.
pub fn is_canary(node: &Node, settings: &MigrationSettings) -> bool {
    let selector = settings.canary_selector.as_ref();
    selector.is_some_and(|selector| {
        let labels = node.labels();
        !selector.is_empty()
            && selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
    })
}

/// The waves of these nodes, the canaries first, if there are any. A wave may have no node of its own.
pub fn waves(nodes: &[&Node], settings: &MigrationSettings) -> Vec<Wave> {
    let (canaries, mut rest): (Vec<String>, Vec<String>) = {
        let mut both = (Vec::new(), Vec::new());
        for node in nodes {
            let list = if is_canary(node, settings) {
                &mut both.0
            } else {
                &mut both.1
            };
            list.push(node.name_any());
        }
        both
    };
    let names: Vec<String> = nodes.iter().map(|node| node.name_any()).collect();
    let mut waves = Vec::new();
    let mut add = |number, mut nodes: Vec<String>| {
        nodes.sort();
        waves.push(Wave { number, nodes });
    };
    if !canaries.is_empty() {
        add(0, canaries);
    }
    for number in 1..=settings.waves.max(1) {
        let share = share(number, settings.waves, names.iter().map(String::as_str));
        let moved;
        (moved, rest) = rest.into_iter().partition(|name| position(name) < share);
        add(number, moved);
    }
    waves
}

/// The number of the last wave, if so many are wanted: never one that is over.
pub fn last_wave(migration: &Migration<Mode>, waves: u32) -> u32 {
    if migration.share == EVERYBODY {
        migration.wave
    } else {
        waves.max(migration.wave)
    }
}

impl Wave {
    /// How it is called: "canaries", or "2 of 3".
    pub fn called(&self, settings_waves: u32) -> String {
        match self.number {
            0 => "canaries".into(),
            number => format!("{number} of {settings_waves}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::node;

    fn settings(waves: u32, canary: Option<&str>) -> MigrationSettings {
        MigrationSettings {
            waves,
            canary_selector: canary.map(|value| [("canary".into(), value.into())].into()),
            ..MigrationSettings::default()
        }
    }

    #[test]
    fn every_node_is_in_one_wave_and_canaries_in_the_first() {
        let names: Vec<String> = (0..20).map(|number| format!("node-{number}")).collect();
        let mut nodes: Vec<Node> = names.iter().map(|name| node(name)).collect();
        nodes[7].metadata.labels = Some([("canary".into(), "yes".into())].into());
        let all: Vec<&Node> = nodes.iter().collect();
        let waves = waves(&all, &settings(3, Some("yes")));
        assert_eq!(
            waves.iter().map(|wave| wave.number).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
        assert_eq!(waves[0].nodes, ["node-7"]);
        let mut moved: Vec<String> = waves.into_iter().flat_map(|wave| wave.nodes).collect();
        moved.sort();
        let mut names = names;
        names.sort();
        assert_eq!(moved, names);
    }

    #[test]
    fn with_more_waves_than_nodes_some_are_empty() {
        let node = node("a");
        let waves = waves(&[&node], &settings(3, Some("yes")));
        assert_eq!(waves.iter().map(|wave| wave.nodes.len()).sum::<usize>(), 1);
        assert_eq!(waves.len(), 3);
    }
}
