//! The manifest of the agent, as a pure function of settings. Every field that the API server would
//! fill in is there, so that what is read back equals what was written.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    HostPathVolumeSource, LocalObjectReference, ObjectFieldSelector, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext, Toleration,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weft_crds::LogLevel;

/// Name of the DaemonSet and its ServiceAccount.
pub const AGENT: &str = "weft-agent";
/// The port of metrics and health of the agent.
pub const AGENT_PORT: i32 = 9473;

/// What the operator decides about agents, rather than the config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentSettings {
    /// Namespace of the components.
    pub namespace: String,
    /// Image, unless the config names one.
    pub image: String,
    /// When the image is pulled: Always, IfNotPresent or Never.
    pub pull_policy: String,
    /// Secrets that the image is pulled with.
    pub pull_secrets: Vec<String>,
    /// Host and port of the API server, where agents can't reach it by the Service `kubernetes`.
    pub api_server: Option<(String, String)>,
    /// Whether metrics of agents can be read from other hosts.
    pub expose_metrics: bool,
}

/// A directory of the host that the agent sees.
pub struct HostMount {
    name: &'static str,
    host: &'static str,
    inside: &'static str,
    type_: &'static str,
    propagation: Option<&'static str>,
}

/// All that the agent sees of the host's files, and why.
pub const MOUNTS: [HostMount; 5] = [
    // It puts the plugin there, atomically, for the container runtime.
    HostMount::new(
        "cni-bin",
        "/opt/cni/bin",
        "/opt/cni/bin",
        "DirectoryOrCreate",
    ),
    // It puts the configuration there, last, when pods can start.
    HostMount::new(
        "cni-conf",
        "/etc/cni/net.d",
        "/etc/cni/net.d",
        "DirectoryOrCreate",
    ),
    // Which addresses pods have, and the last state that it was told, for a start without API server.
    HostMount::new(
        "state",
        "/var/lib/weft",
        "/var/lib/weft",
        "DirectoryOrCreate",
    ),
    // It enters network namespaces of pods to change their MTU. New ones have to appear here.
    HostMount {
        propagation: Some("HostToContainer"),
        ..HostMount::new("netns", "/run/netns", "/run/netns", "DirectoryOrCreate")
    },
    // It sets forwarding and source filters of the host; the container's own /proc/sys is read-only.
    HostMount::new(
        "proc-sys-net",
        "/proc/sys/net",
        "/host/proc/sys/net",
        "Directory",
    ),
];

/// What the agent may do beyond its user, and why.
/// NET_ADMIN: links, routes, rules, nftables, sysctls. NET_RAW: raw sockets and socket marks of
/// probes. SYS_ADMIN: entering network namespaces of pods (setns(2) asks for it). NET_BIND_SERVICE: listening on
/// the port of BGP.
pub const CAPABILITIES: [&str; 4] = ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "NET_BIND_SERVICE"];

impl HostMount {
    const fn new(
        name: &'static str,
        host: &'static str,
        inside: &'static str,
        type_: &'static str,
    ) -> Self {
        HostMount {
            name,
            host,
            inside,
            type_,
            propagation: None,
        }
    }

    /// As a volume of a pod.
    pub fn volume(&self) -> Volume {
        Volume {
            name: self.name.into(),
            host_path: Some(HostPathVolumeSource {
                path: self.host.into(),
                type_: Some(self.type_.into()),
            }),
            ..Volume::default()
        }
    }

    /// As a mount of a container.
    pub fn mount(&self) -> VolumeMount {
        VolumeMount {
            name: self.name.into(),
            mount_path: self.inside.into(),
            mount_propagation: self.propagation.map(Into::into),
            ..VolumeMount::default()
        }
    }
}

/// Labels of everything that belongs to one component.
pub fn labels(name: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", name),
        ("app.kubernetes.io/part-of", "weft"),
        ("app.kubernetes.io/managed-by", "weft-operator"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_string(), value.to_string()))
    .collect()
}

/// The DaemonSet of the agent.
pub fn render(settings: &AgentSettings, agent: &weft_crds::AgentSettings) -> DaemonSet {
    let image = agent.image.as_ref().unwrap_or(&settings.image);
    let max_unavailable = agent.max_unavailable.clone();
    let container = Container {
        args: Some(arguments(settings)),
        env: Some(environment(settings, agent.log_level)),
        ports: Some(vec![ContainerPort {
            name: Some("metrics".into()),
            container_port: AGENT_PORT,
            host_port: Some(AGENT_PORT),
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        }]),
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 5, 3)),
        ..container("agent", image, settings)
    };
    daemonset(
        AGENT,
        settings,
        max_unavailable.unwrap_or(IntOrString::Int(1)),
        PodSpec {
            containers: vec![container],
            volumes: Some(MOUNTS.iter().map(HostMount::volume).collect()),
            ..pod(settings)
        },
    )
}

/// A DaemonSet of the components around a pod.
pub fn daemonset(
    name: &str,
    settings: &AgentSettings,
    max_unavailable: IntOrString,
    pod: PodSpec,
) -> DaemonSet {
    DaemonSet {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(settings.namespace.clone()),
            labels: Some(labels(name)),
            ..ObjectMeta::default()
        },
        spec: DaemonSetSpec {
            revision_history_limit: Some(10),
            selector: LabelSelector {
                match_labels: Some([("app.kubernetes.io/name".into(), name.into())].into()),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels(name)),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDaemonSet {
                    max_unavailable: Some(max_unavailable),
                    max_surge: Some(IntOrString::Int(0)),
                }),
            }),
            ..DaemonSetSpec::default()
        },
        status: None,
    }
}

/// A pod in the network of its node, on every node whatever its taints, before other pods.
pub fn pod(settings: &AgentSettings) -> PodSpec {
    let secrets: Vec<_> = settings
        .pull_secrets
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() })
        .collect();
    PodSpec {
        host_network: Some(true),
        dns_policy: Some("Default".into()),
        priority_class_name: Some("system-node-critical".into()),
        tolerations: Some(vec![Toleration {
            operator: Some("Exists".into()),
            ..Toleration::default()
        }]),
        image_pull_secrets: (!secrets.is_empty()).then_some(secrets),
        service_account_name: Some(AGENT.into()),
        service_account: Some(AGENT.into()),
        restart_policy: Some("Always".into()),
        scheduler_name: Some("default-scheduler".into()),
        security_context: Some(PodSecurityContext::default()),
        termination_grace_period_seconds: Some(10),
        ..PodSpec::default()
    }
}

/// A container that may do what the agent may.
pub fn container(name: &str, image: &str, settings: &AgentSettings) -> Container {
    let quantity = |text: &str| Quantity(text.into());
    Container {
        name: name.into(),
        image: Some(image.into()),
        image_pull_policy: Some(settings.pull_policy.clone()),
        command: Some(vec!["/weft-agent".into()]),
        resources: Some(ResourceRequirements {
            requests: Some(
                [
                    ("cpu".into(), quantity("20m")),
                    ("memory".into(), quantity("32Mi")),
                ]
                .into(),
            ),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            privileged: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_user: Some(0),
            capabilities: Some(Capabilities {
                add: Some(CAPABILITIES.map(String::from).to_vec()),
                drop: Some(vec!["ALL".into()]),
            }),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".into(),
                ..SeccompProfile::default()
            }),
            ..SecurityContext::default()
        }),
        termination_message_path: Some("/dev/termination-log".into()),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(MOUNTS.iter().map(HostMount::mount).collect()),
        ..Container::default()
    }
}

/// The environment of an agent.
pub fn environment(settings: &AgentSettings, level: LogLevel) -> Vec<EnvVar> {
    let plain = |name: &str, value: &str| EnvVar {
        name: name.into(),
        value: Some(value.into()),
        ..EnvVar::default()
    };
    let level = match level {
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let mut environment = vec![
        EnvVar {
            name: "NODE_NAME".into(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".into()),
                    field_path: "spec.nodeName".into(),
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        },
        plain("NAMESPACE", &settings.namespace),
        plain("WEFT_LOG", level),
    ];
    if let Some((host, port)) = &settings.api_server {
        environment.push(plain("KUBERNETES_SERVICE_HOST", host));
        environment.push(plain("KUBERNETES_SERVICE_PORT", port));
    }
    environment
}

fn arguments(settings: &AgentSettings) -> Vec<String> {
    let listen = settings
        .expose_metrics
        .then(|| format!("--listen=[::]:{AGENT_PORT}"));
    ["run".to_owned()].into_iter().chain(listen).collect()
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            host: Some("127.0.0.1".into()),
            path: Some(path.into()),
            port: IntOrString::Int(AGENT_PORT),
            scheme: Some("HTTP".into()),
            ..HTTPGetAction::default()
        }),
        initial_delay_seconds: None,
        period_seconds: Some(period),
        timeout_seconds: Some(3),
        success_threshold: Some(1),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
