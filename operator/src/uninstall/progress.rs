//! Which nodes are clean, and what keeps the others from it. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::observed::NodeFacts;

/// How far the cleaning is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Nodes that are clean.
    pub clean: usize,
    /// Nodes that are not, and why.
    pub waiting: Vec<(String, String)>,
}

impl Progress {
    /// A line for people.
    pub fn line(&self) -> String {
        let total = self.clean + self.waiting.len();
        let mut line = format!("{} of {total} nodes are clean", self.clean);
        for (node, why) in self.waiting.iter().take(5) {
            line.push_str(&format!("; {node}: {why}"));
        }
        if self.waiting.len() > 5 {
            line.push_str(&format!("; and {} more", self.waiting.len() - 5));
        }
        line
    }
}

/// Judges nodes by the pods of the DaemonSet that cleans.
pub fn of_cleaning(nodes: &[NodeFacts], pods: &[Pod]) -> Progress {
    let by_node: BTreeMap<&str, &Pod> = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| Some((node_of(pod)?, pod)))
        .collect();
    let mut progress = Progress::default();
    for node in nodes {
        let why = match by_node.get(node.name.as_str()) {
            Some(pod) if is_ready(pod) => {
                progress.clean += 1;
                continue;
            }
            _ if !node.ready => "its kubelet is not ready".to_string(),
            Some(pod) => trouble(pod).unwrap_or_else(|| "is being cleaned".into()),
            None => "has no pod for it yet".to_string(),
        };
        progress.waiting.push((node.name.clone(), why));
    }
    progress
}

/// The nodes, among those whose kubelet is ready, that still have a pod of these.
pub fn still_running(nodes: &[NodeFacts], pods: &[Pod]) -> Vec<String> {
    let alive = |name: &str| nodes.iter().any(|node| node.name == name && node.ready);
    let mut names: Vec<String> = pods
        .iter()
        .filter_map(node_of)
        .filter(|name| alive(name))
        .map(Into::into)
        .collect();
    names.sort();
    names.dedup();
    names
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    })
}

/// What the init container said when it failed, or why it can't start.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let statuses = status.init_container_statuses.iter().flatten();
    let mut statuses = statuses.chain(status.container_statuses.iter().flatten());
    statuses.find_map(said)
}

fn said(status: &ContainerStatus) -> Option<String> {
    let states = [status.state.as_ref(), status.last_state.as_ref()];
    let ended = states
        .into_iter()
        .flatten()
        .filter_map(|state| state.terminated.as_ref())
        .find(|ended| ended.exit_code != 0);
    if let Some(ended) = ended {
        let words = ended.message.as_deref().unwrap_or("no message").trim();
        return Some(format!("cleanup ended with {}: {words}", ended.exit_code));
    }
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref()?;
    (reason != "PodInitializing" && reason != "ContainerCreating").then(|| {
        let message = waiting.message.as_deref().unwrap_or_default();
        format!("{reason} {message}").trim().to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::node;
    use serde_json::json;

    fn pod(node: &str, status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": format!("weft-cleanup-{node}")},
            "spec": {"nodeName": node, "containers": []},
            "status": status,
        }))
        .unwrap()
    }

    fn ready() -> serde_json::Value {
        json!({"conditions": [{"type": "Ready", "status": "True"}]})
    }

    #[test]
    fn nodes_are_clean_when_their_pod_is_ready() {
        let nodes = [node("a"), node("b")];
        let progress = of_cleaning(&nodes, &[pod("a", ready()), pod("b", ready())]);
        assert_eq!((progress.clean, progress.waiting.len()), (2, 0));
        assert_eq!(progress.line(), "2 of 2 nodes are clean");
    }

    #[test]
    fn each_node_that_is_not_clean_is_named_with_the_cause() {
        let mut dead = node("dead");
        dead.ready = false;
        let nodes = [
            node("busy"),
            dead,
            node("failed"),
            node("new"),
            node("pull"),
        ];
        let failed = json!({"initContainerStatuses": [{
            "name": "cleanup", "image": "", "imageID": "", "ready": false, "restartCount": 1,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "message": "rule 8700 stays\n"}},
        }]});
        let pull = json!({"initContainerStatuses": [{
            "name": "cleanup", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}},
        }]});
        let pods = [
            pod("busy", json!({})),
            pod("failed", failed),
            pod("pull", pull),
        ];
        let waiting = of_cleaning(&nodes, &pods).waiting;
        let told: Vec<_> = waiting
            .iter()
            .map(|(n, w)| (n.as_str(), w.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                ("busy", "is being cleaned"),
                ("dead", "its kubelet is not ready"),
                ("failed", "cleanup ended with 1: rule 8700 stays"),
                ("new", "has no pod for it yet"),
                ("pull", "ErrImagePull not found"),
            ]
        );
    }

    #[test]
    fn a_dead_node_that_was_cleaned_counts() {
        let mut dead = node("a");
        dead.ready = false;
        assert_eq!(of_cleaning(&[dead], &[pod("a", ready())]).clean, 1);
    }

    #[test]
    fn pods_on_dead_nodes_are_not_waited_for() {
        let mut dead = node("b");
        dead.ready = false;
        let pods = [pod("a", json!({})), pod("b", json!({}))];
        assert_eq!(still_running(&[node("a"), dead], &pods), ["a"]);
    }
}
