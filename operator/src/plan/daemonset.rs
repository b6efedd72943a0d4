//! The DaemonSet of the agent: written when it differs from what it should be, and only then.
//!
//! It is made only while a NetworkConfig exists. When the config is absent, one that exists is left as
//! it is, and one that was deleted stays away: so an uninstallation isn't fought.

use k8s_openapi::api::apps::v1::DaemonSet;
use weft_crds::NetworkConfig;

pub use super::agent_manifest::{AGENT, AgentSettings, render};
use super::{Action, Plan};
use crate::memory::{Memory, Settled};
use crate::observed::Observed;

/// `kubectl rollout restart` sets it; it is kept, or the restart would be undone half-way.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Adds the creation or repair of the DaemonSet.
pub fn plan(
    observed: &Observed,
    memory: &Memory,
    settings: &AgentSettings,
    config: &NetworkConfig,
    plan: &mut Plan,
) {
    let mut wanted = render(settings, &config.spec.agent);
    let Some(live) = &observed.daemonset else {
        plan.actions.push(Action::CreateDaemonSet(Box::new(wanted)));
        return;
    };
    if live.metadata.deletion_timestamp.is_some() {
        return;
    }
    keep_restart(live, &mut wanted);
    if is_as_wanted(&wanted, live) || memory.settled.as_ref() == Some(&settled(&wanted, live)) {
        return;
    }
    let by_config = memory
        .settled
        .as_ref()
        .is_none_or(|settled| settled.wanted != intent(&wanted));
    wanted.metadata.uid = live.metadata.uid.clone();
    wanted.metadata.resource_version = live.metadata.resource_version.clone();
    wanted.metadata.labels = merged(&live.metadata.labels, &wanted.metadata.labels);
    wanted.metadata.annotations = live.metadata.annotations.clone();
    plan.actions.push(Action::ReplaceDaemonSet {
        daemonset: Box::new(wanted),
        repair: !by_config,
    });
}

/// What to remember of a DaemonSet that came out of a write.
pub fn settled(wanted: &DaemonSet, result: &DaemonSet) -> Settled {
    Settled {
        wanted: intent(wanted),
        generation: result.metadata.generation.unwrap_or(0),
        labels: result.metadata.labels.clone().unwrap_or_default(),
        uid: result.metadata.uid.clone().unwrap_or_default(),
    }
}

fn is_as_wanted(wanted: &DaemonSet, live: &DaemonSet) -> bool {
    let live_labels = live.metadata.labels.clone().unwrap_or_default();
    let mut labels = wanted.metadata.labels.iter().flatten();
    wanted.spec == live.spec && labels.all(|(key, value)| live_labels.get(key) == Some(value))
}

fn intent(daemonset: &DaemonSet) -> serde_json::Value {
    serde_json::to_value(&daemonset.spec).unwrap_or_default()
}

fn keep_restart(live: &DaemonSet, wanted: &mut DaemonSet) {
    let metadata = live.spec.template.metadata.as_ref();
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    let Some(value) = annotations.and_then(|annotations| annotations.get(RESTARTED_AT)) else {
        return;
    };
    let metadata = wanted.spec.template.metadata.get_or_insert_default();
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(RESTARTED_AT.into(), value.clone());
}

type Labels = Option<std::collections::BTreeMap<String, String>>;

fn merged(live: &Labels, wanted: &Labels) -> Labels {
    let mut labels = live.clone().unwrap_or_default();
    labels.extend(wanted.clone().unwrap_or_default());
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{cluster, config};
    use serde_json::json;
    use std::sync::Arc;

    fn settings() -> AgentSettings {
        AgentSettings {
            namespace: "weft-system".into(),
            image: "example.org/weft:1".into(),
            pull_policy: "IfNotPresent".into(),
            ..AgentSettings::default()
        }
    }

    #[test]
    fn metrics_are_for_the_node_alone_unless_exposed() {
        let arguments = |expose_metrics| {
            let settings = AgentSettings {
                expose_metrics,
                ..settings()
            };
            let pod = render(&settings, &Default::default()).spec.template;
            pod.spec.unwrap().containers[0].args.clone().unwrap()
        };
        assert_eq!(arguments(false), ["run"]);
        assert_eq!(arguments(true), ["run", "--listen=[::]:9473"]);
    }

    fn observed(live: Option<DaemonSet>) -> Observed {
        let mut observed = cluster(config(json!([{"cidr": "10.244.0.0/16"}])), &[]);
        observed.daemonset = live.map(Arc::new);
        observed
    }

    fn live() -> DaemonSet {
        let mut live = render(&settings(), &Default::default());
        live.metadata.uid = Some("uid-ds".into());
        live.metadata.resource_version = Some("7".into());
        live.metadata.generation = Some(1);
        live
    }

    fn actions(observed: &Observed, memory: &Memory) -> Vec<Action> {
        let mut out = Plan::default();
        let config = observed.config.clone().unwrap();
        plan(observed, memory, &settings(), &config, &mut out);
        out.actions
    }

    fn remembering(settled: Settled) -> Memory {
        let mut memory = Memory::default();
        memory.settled = Some(settled);
        memory
    }

    fn template(daemonset: &mut DaemonSet) -> &mut k8s_openapi::api::core::v1::PodSpec {
        daemonset.spec.template.spec.as_mut().unwrap()
    }

    #[test]
    fn it_is_made_when_absent_and_left_when_right() {
        let memory = Memory::default();
        assert!(matches!(
            actions(&observed(None), &memory)[..],
            [Action::CreateDaemonSet(_)]
        ));
        assert!(actions(&observed(Some(live())), &memory).is_empty());
    }

    #[test]
    fn an_edit_is_undone_also_when_it_adds_something() {
        let memory = remembering(settled(&live(), &live()));
        let mut edited = live();
        template(&mut edited).node_selector = Some([("a".into(), "b".into())].into());
        edited.metadata.generation = Some(2);
        match &actions(&observed(Some(edited)), &memory)[..] {
            [Action::ReplaceDaemonSet { daemonset, repair }] => {
                assert!(repair);
                assert_eq!(daemonset.spec, live().spec);
                assert_eq!(daemonset.metadata.resource_version.as_deref(), Some("7"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_webhook_made_of_it_is_not_fought() {
        let mut mutated = live();
        template(&mut mutated).containers[0].image = Some("mirror.example.org/weft:1".into());
        mutated.metadata.generation = Some(2);
        let memory = remembering(settled(&live(), &mutated));
        assert!(actions(&observed(Some(mutated)), &memory).is_empty());
    }

    #[test]
    fn a_rollout_restart_is_kept() {
        let mut restarted = live();
        let metadata = restarted.spec.template.metadata.as_mut();
        metadata.unwrap().annotations = Some([(RESTARTED_AT.into(), "now".into())].into());
        assert!(actions(&observed(Some(restarted)), &Memory::default()).is_empty());
    }

    #[test]
    fn the_config_chooses_image_level_and_pace() {
        let agent: weft_crds::AgentSettings = serde_json::from_value(json!({
            "image": "example.org/other:2", "maxUnavailable": "20%", "logLevel": "Debug"
        }))
        .unwrap();
        let mut changed = observed(Some(live()));
        Arc::make_mut(changed.config.as_mut().unwrap()).spec.agent = agent;
        match &actions(&changed, &Memory::default())[..] {
            [Action::ReplaceDaemonSet { daemonset, repair }] => {
                assert!(!repair);
                let text = serde_json::to_string(daemonset).unwrap();
                assert!(text.contains("example.org/other:2"));
                assert!(text.contains(r#""maxUnavailable":"20%""#));
                assert!(text.contains(r#"{"name":"WEFT_LOG","value":"debug"}"#));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_that_is_being_deleted_is_waited_for() {
        let mut going = live();
        template(&mut going).host_network = Some(false);
        going.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
            ));
        assert!(actions(&observed(Some(going)), &Memory::default()).is_empty());
    }
}
