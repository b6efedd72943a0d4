//! The DaemonSet that cleans every node: its init container does it, so a ready pod is a clean node.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Container, HostPathVolumeSource, PodSpec, Volume, VolumeMount};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weft_crds::LogLevel;

use crate::plan::agent_manifest::{
    AgentSettings, HostMount, MOUNTS, container, daemonset, environment, pod,
};

/// Name of the DaemonSet.
pub const CLEANUP: &str = "weft-cleanup";

/// The parent of the agent's state, so that the directory itself can go.
const STATE: &str = "state";
const STATE_PARENT: &str = "/var/lib";

/// The DaemonSet.
pub fn render(settings: &AgentSettings) -> DaemonSet {
    let clean = Container {
        args: Some(vec!["cleanup".into()]),
        env: Some(environment(settings, LogLevel::Info)),
        volume_mounts: Some(MOUNTS.iter().map(mount).collect()),
        ..container("cleanup", &settings.image, settings)
    };
    let mut wait = Container {
        args: Some(vec!["pause".into()]),
        volume_mounts: None,
        ..container("pause", &settings.image, settings)
    };
    // It does nothing, and may do nothing.
    if let Some(capabilities) = wait
        .security_context
        .as_mut()
        .and_then(|context| context.capabilities.as_mut())
    {
        capabilities.add = None;
    }
    let pod = PodSpec {
        init_containers: Some(vec![clean]),
        containers: vec![wait],
        volumes: Some(MOUNTS.iter().map(volume).collect()),
        automount_service_account_token: Some(false),
        termination_grace_period_seconds: Some(1),
        ..pod(settings)
    };
    daemonset(CLEANUP, settings, IntOrString::String("100%".into()), pod)
}

fn volume(mount: &HostMount) -> Volume {
    let mut volume = mount.volume();
    if volume.name == STATE {
        volume.host_path = Some(HostPathVolumeSource {
            path: STATE_PARENT.into(),
            type_: Some("Directory".into()),
        });
    }
    volume
}

fn mount(mount: &HostMount) -> VolumeMount {
    let mut mount = mount.mount();
    if mount.name == STATE {
        mount.mount_path = STATE_PARENT.into();
    }
    mount
}
