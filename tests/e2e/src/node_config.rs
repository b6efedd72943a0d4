//! The configuration of a node's programs. Pure text.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::plan::{Endpoint, Plan, host, netns};
use crate::spec::{ClusterSpec, Families, ProxyMode};
use crate::tools;

/// The image of a pod's sandbox.
pub const PAUSE_IMAGE: &str = "localhost/pause:dev";

/// containerd's configuration.
pub fn containerd() -> String {
    // Without CAP_SYS_RESOURCE a process cannot make itself less likely to be killed,
    // and runc fails when it tries.
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#
    )
}

/// Where in a node's configuration the kubelet looks for pods of its own.
pub const MANIFESTS: &str = "manifests";

/// The kubelet's configuration.
pub fn kubelet(spec: &ClusterSpec, node: &Endpoint) -> Value {
    let dns: Vec<_> = dns_addresses(spec);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": if spec.families == Families::V6 { "::" } else { "0.0.0.0" },
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", netns(&spec.name, &node.name)),
        "failSwapOn": false,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": "/etc/kubernetes/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": "/etc/kubernetes/kubelet-serving.crt",
        "tlsPrivateKeyFile": "/etc/kubernetes/kubelet-serving.key",
        "clusterDNS": dns,
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/kubernetes/resolv.conf",
        // The disk of the machine is not the node's to judge; the value 0 is refused.
        "evictionHard": {
            "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
            "imagefs.available": "0%", "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageMaximumGCAge": "0s",
        "localStorageCapacityIsolation": false,
        "oomScoreAdj": 0,
        "nodeStatusUpdateFrequency": "5s",
        "staticPodPath": format!("/etc/kubernetes/{MANIFESTS}"),
        "fileCheckFrequency": "1s",
        "nodeLeaseDurationSeconds": 12,
        "logging": {"verbosity": spec.verbosity},
    })
}

/// kube-proxy's configuration. It leaves the machine's connection tracking limits alone.
pub fn kube_proxy(spec: &ClusterSpec, node: &Endpoint) -> Value {
    let pools: Vec<_> = spec.pool_cidrs.iter().map(ToString::to_string).collect();
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": match spec.proxy_mode { ProxyMode::Nftables => "nftables", ProxyMode::Iptables => "iptables" },
        "hostnameOverride": node.name,
        "clusterCIDR": pools.join(","),
        "clientConnection": {"kubeconfig": "/etc/kubernetes/kube-proxy.kubeconfig"},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "metricsBindAddress": "127.0.0.1:10249",
        "logging": {"verbosity": spec.verbosity},
    })
}

/// The command line of a node's service: containerd, kubelet or kube-proxy. The kubelet registers the
/// node with `labels`.
pub fn service(
    name: &str,
    node: &Endpoint,
    labels: &BTreeMap<String, String>,
) -> Result<Vec<String>> {
    let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let addresses: Vec<_> = node.ips().iter().map(ToString::to_string).collect();
    let config = |file: &str| format!("--config=/etc/kubernetes/{file}");
    let (program, arguments) = match name {
        "containerd" => (tools::installed(name)?, vec![config("containerd.toml")]),
        "kube-proxy" => (tools::built(name)?, vec![config("kube-proxy.json")]),
        "kubelet" => (
            tools::built(name)?,
            vec![
                config("kubelet.json"),
                "--kubeconfig=/etc/kubernetes/kubelet.kubeconfig".to_owned(),
                format!("--hostname-override={}", node.name),
                format!("--node-ip={}", addresses.join(",")),
                format!("--node-labels={}", labels.join(",")),
            ],
        ),
        _ => {
            return Err(Error::State(format!(
                "node {}: there is no service {name}; there are containerd, kubelet and kube-proxy",
                node.name
            )));
        }
    };
    let program = program.display().to_string();
    Ok(std::iter::once(program).chain(arguments).collect())
}

/// The reference bridge plugin's configuration for the node at `place` in the cluster.
pub fn bridge_conflist(spec: &ClusterSpec, place: usize) -> Value {
    let ranges: Vec<_> = pod_ranges(spec, place)
        .iter()
        .map(|net| json!([{"subnet": net.to_string()}]))
        .collect();
    let routes: Vec<_> = spec
        .pool_cidrs
        .iter()
        .map(|net| json!({"dst": if net.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" }}))
        .collect();
    json!({
        "cniVersion": "0.4.0",
        "name": "bridge",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
                "ipam": {"type": "host-local", "ranges": ranges, "routes": routes},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// The piece of each pool that the reference plugin uses on the node at `place`: a
/// /24 or a /80.
pub fn pod_ranges(spec: &ClusterSpec, place: usize) -> Vec<ipnet::IpNet> {
    let piece = |net: &ipnet::IpNet| {
        let length = if net.addr().is_ipv4() { 24 } else { 80 };
        net.subnets(length).ok()?.nth(place)
    };
    spec.pool_cidrs.iter().filter_map(piece).collect()
}

/// The addresses of the cluster's DNS Service: the tenth of each Service range.
pub fn dns_addresses(spec: &ClusterSpec) -> Vec<String> {
    spec.service_cidrs
        .iter()
        .map(|net| host(net, 10).addr().to_string())
        .collect()
}

/// The API server's own Service address, the first of each range.
pub fn api_service_addresses(spec: &ClusterSpec) -> Vec<std::net::IpAddr> {
    spec.service_cidrs
        .iter()
        .map(|net| host(net, 1).addr())
        .collect()
}

/// The URL that nodes use.
pub fn api_url(plan: &Plan) -> String {
    format!("https://{}:6443", crate::plan::url_host(plan.api_server()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dual_stack_node_is_told_both_families() {
        let spec = ClusterSpec::demo("demo").validated().expect("valid");
        let plan = Plan::new(&spec, 0);
        assert_eq!(
            kubelet(&spec, &plan.nodes[0])["clusterDNS"],
            json!(["10.96.0.10", "fd00:10:96::a"])
        );
        assert_eq!(
            kube_proxy(&spec, &plan.nodes[0])["clusterCIDR"],
            "10.244.0.0/16,fd00:10:244::/56"
        );
        let conflist = bridge_conflist(&spec, 1);
        let ranges = json!([[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:10:244:0:1::/80"}]]);
        assert_eq!(conflist["plugins"][0]["ipam"]["ranges"], ranges);
    }
}
