//! `kubectl weft version`: of this program, of the agents and of the operator.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use serde::Serialize;
use weft_crds::NodeReport;

use crate::text::count;

/// The name of the operator's Deployment.
const OPERATOR: &str = "weft-operator";

/// The answer.
#[derive(Debug, PartialEq, Serialize)]
pub struct Report {
    /// Version of this program.
    pub client: &'static str,
    /// What runs in the cluster; unset when it was not asked.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Running>,
}

/// What runs in the cluster.
#[derive(Debug, PartialEq, Serialize)]
pub struct Running {
    /// Images of the operator; unset when it has no Deployment.
    pub operator: Option<Vec<String>>,
    /// Agents by version, going by their last reports.
    pub agents: BTreeMap<String, usize>,
}

/// The answer that follows from what is there.
pub fn report(cluster: Option<&(Vec<NodeReport>, Vec<Deployment>)>) -> Report {
    let running = cluster.map(|(reports, deployments)| {
        let mut agents = BTreeMap::new();
        for report in reports {
            *agents.entry(report.spec.agent_version.clone()).or_default() += 1;
        }
        let operator = deployments
            .iter()
            .find(|deployment| deployment.name_any() == OPERATOR);
        Running {
            operator: operator.map(images),
            agents,
        }
    });
    Report {
        client: env!("CARGO_PKG_VERSION"),
        cluster: running,
    }
}

fn images(deployment: &Deployment) -> Vec<String> {
    let pod = deployment.spec.template.spec.as_ref();
    let containers = pod.map_or(&[][..], |pod| &pod.containers);
    containers
        .iter()
        .filter_map(|container| container.image.clone())
        .collect()
}

/// The answer as text.
pub fn render(report: &Report) -> String {
    let mut text = format!("kubectl weft  {}\n", report.client);
    let Some(running) = &report.cluster else {
        return text;
    };
    let operator = match &running.operator {
        Some(images) => images.join(", "),
        None => "none in namespace weft-system".into(),
    };
    text.push_str(&format!("operator      {operator}\n"));
    let agents: Vec<String> = running
        .agents
        .iter()
        .map(|(version, nodes)| format!("{version} on {}", count(*nodes, "node")))
        .collect();
    let agents = if agents.is_empty() {
        "none has reported".into()
    } else {
        agents.join(", ")
    };
    text.push_str(&format!("agents        {agents}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{cluster, object, report_of};
    use serde_json::json;

    #[test]
    fn agents_are_counted_by_version() {
        let mut cluster = cluster(&["node-1", "node-2", "node-3"]);
        report_of(&mut cluster, "node-3").spec.agent_version = "0.2.0".into();
        let operator: Deployment = object(json!({
            "metadata": {"name": "weft-operator"},
            "spec": {
                "selector": {},
                "template": {"spec": {"containers": [{"name": "operator", "image": "localhost/weft:dev"}]}},
            },
        }));
        let report = report(Some(&(cluster.reports, vec![operator])));
        insta::assert_snapshot!(render(&report));
        insta::assert_json_snapshot!(report);
    }

    #[test]
    fn of_this_program_alone() {
        assert_eq!(render(&report(None)).lines().count(), 1);
        assert_eq!(
            serde_json::to_value(report(None))
                .unwrap()
                .as_object()
                .unwrap()
                .len(),
            1
        );
    }
}
