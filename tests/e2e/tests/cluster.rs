//! A real cluster and every verb on it; then nothing of it is left.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use weft_e2e::spec::{Cni, NodeSpec, SubnetSpec};
use weft_e2e::{Cluster, ClusterSpec, Result, leftovers, netns, snapshot, wait};

const LIMIT: Duration = Duration::from_secs(120);

const PODS: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: tools}
spec:
  selector: {matchLabels: {app: tools}}
  template:
    metadata: {labels: {app: tools}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: tools, image: localhost/tools:dev, imagePullPolicy: Never}]
";

/// One test, because a cluster is dear: each step leaves it as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_does_all_that_is_asked_and_leaves_nothing() {
    let before = Machine::now();
    let mut spec = ClusterSpec::flat("tour", 1);
    spec.subnets.push(SubnetSpec {
        mtu: 1400,
        ..SubnetSpec::new("b")
    });
    spec.nodes.push(NodeSpec::new("node2", "b"));
    spec.cni = Cni::Bridge;
    let cluster = Cluster::temporary(spec).await.expect("comes up");

    pods_reach_each_other(&cluster).await.expect("pods");
    faults_are_felt_where_they_are(&cluster)
        .await
        .expect("faults");
    links_change_under_a_running_node(&cluster)
        .await
        .expect("links");
    a_snapshot_sees_what_was_made(&cluster)
        .await
        .expect("snapshot");
    a_full_disk_is_full_on_the_node_alone(&cluster)
        .await
        .expect("disk");
    services_stop_and_start(&cluster).await.expect("services");
    the_api_stops_and_remembers(&cluster)
        .await
        .expect("API server");
    power_goes_and_comes_back(&cluster).await.expect("power");
    a_node_joins_later(&cluster).await.expect("added node");

    drop(cluster);
    assert_eq!(
        leftovers::find("tour").expect("looked for"),
        Vec::<String>::new()
    );
    before.assert_unchanged("tour");
}

/// The tool is killed again and again in the middle of its work, later each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_tool_leaves_nothing_that_down_does_not_find() {
    let before = Machine::now();
    for milliseconds in [20, 60, 150, 400, 1_000, 2_500, 6_000] {
        let mut tool = testbed()
            .args(["--cluster", "killed", "up", "single"])
            .spawn()
            .expect("starts");
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        tool.kill().expect("killed");
        tool.wait().expect("reaped");
        let down = testbed()
            .args(["--cluster", "killed", "down"])
            .output()
            .expect("runs");
        assert!(
            down.status.success(),
            "after {milliseconds} ms: {}",
            String::from_utf8_lossy(&down.stderr)
        );
        assert_eq!(
            leftovers::find("killed").expect("looked for"),
            Vec::<String>::new()
        );
    }
    before.assert_unchanged("killed");
}

#[test]
fn missing_programs_are_named_before_anything_is_made() {
    let up = testbed()
        .args(["--cluster", "none", "up"])
        .env("WEFT_CACHE", "/nonexistent")
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&up.stderr);
    assert!(!up.status.success());
    assert!(
        said.contains("make deps") && said.contains("kube-apiserver"),
        "{said}"
    );
    assert_eq!(
        leftovers::find("none").expect("looked for"),
        Vec::<String>::new()
    );
}

async fn pods_reach_each_other(cluster: &Cluster) -> Result<()> {
    cluster.wait_nodes(&["node1", "node2"], true, LIMIT).await?;
    cluster.apply(PODS).await?;
    cluster
        .wait_rollout("default", "daemonset/tools", LIMIT)
        .await?;
    cluster
        .wait_rollout("kube-system", "deployment/coredns", LIMIT)
        .await?;
    // A rollout goes by the counts of a controller, which may not know of all nodes yet.
    let pods = wait::until("two pods with two addresses each", LIMIT, async || {
        addressed_pods(cluster).await
    })
    .await?;
    let from = &pods[0].0;
    for address in &pods[1].1 {
        cluster
            .pod_exec("default", from, &["ping", "-c", "1", "-W", "5", address])
            .await?;
    }
    let lookup = ["nslookup", "kubernetes.default.svc.cluster.local"];
    let answer = cluster.pod_exec("default", from, &lookup).await?.stdout;
    assert!(answer.contains("10.96.0.1"), "{answer}");
    Ok(())
}

/// The two pods of the DaemonSet by name, each with its addresses; or what there is instead.
async fn addressed_pods(
    cluster: &Cluster,
) -> std::result::Result<Vec<(String, Vec<String>)>, String> {
    let pods: Api<Pod> = cluster
        .client()
        .await
        .map(Api::default_namespaced)
        .map_err(|error| error.to_string())?;
    let found = pods
        .list(&ListParams::default().labels("app=tools"))
        .await
        .map_err(|error| error.to_string())?;
    let addressed: Vec<(String, Vec<String>)> = found
        .iter()
        .map(|pod| {
            let ips = pod.status.iter().flat_map(|status| status.pod_ips.iter());
            let ips = ips.flatten().map(|ip| ip.ip.clone()).collect();
            (pod.name_any(), ips)
        })
        .collect();
    if addressed.len() == 2 && addressed.iter().all(|(_, ips)| ips.len() == 2) {
        return Ok(addressed);
    }
    let statuses: Vec<_> = found
        .iter()
        .map(|pod| (pod.name_any(), &pod.status))
        .collect();
    Err(format!("{statuses:?}"))
}

async fn faults_are_felt_where_they_are(cluster: &Cluster) -> Result<()> {
    let node2 = cluster.node("node2")?.endpoint().ips();
    let outside = cluster.outside()?.primary();
    for address in &node2 {
        assert!(reaches(cluster, *address).await?, "{address} before");
    }
    cluster.partition("node1", "node2").await?;
    for address in &node2 {
        assert!(
            !reaches(cluster, *address).await?,
            "{address} in spite of the partition"
        );
    }
    assert!(
        reaches(cluster, outside).await?,
        "the partition is between the two alone"
    );
    cluster.heal().await?;
    cluster.partition_one_way("node2", "node1").await?;
    assert!(!reaches(cluster, node2[0]).await?, "no answer comes back");
    cluster.heal_between("node1", "node2").await?;
    cluster.drop_percent(50.0, "node1", "node2").await?;
    let ping = [
        "busybox",
        "ping",
        "-q",
        "-c",
        "200",
        "-i",
        "0.005",
        "-W",
        "1",
        &node2[0].to_string(),
    ];
    let report = cluster.node("node1")?.command(ping)?.output().await?.stdout;
    assert!(
        !report.contains(" 0% packet loss") && !report.contains(" 100% packet loss"),
        "{report}"
    );
    cluster.heal().await?;
    assert!(reaches(cluster, node2[0]).await?, "healed");
    let error = cluster
        .partition("node1", "node7")
        .await
        .expect_err("no such node")
        .to_string();
    assert!(
        error.contains("there is no node7; there are control, outside, node1, node2"),
        "{error}"
    );
    Ok(())
}

async fn links_change_under_a_running_node(cluster: &Cluster) -> Result<()> {
    let node = cluster.node("node2")?;
    cluster.link_down("node2").await?;
    let link = node.exec(["ip", "link", "show", "eth0"]).await?.stdout;
    assert!(link.contains("NO-CARRIER"), "{link}");
    cluster.link_up("node2").await?;
    cluster.set_mtu("node2", 1350).await?;
    let link = node.exec(["ip", "link", "show", "eth0"]).await?.stdout;
    assert!(link.contains("mtu 1350"), "{link}");
    let error = cluster
        .set_mtu("node2", 1500)
        .await
        .expect_err("more than the subnet's");
    assert!(error.to_string().contains("its subnet's 1400"), "{error}");

    cluster.set_address("node2", 99).await?;
    let client = cluster.client().await?;
    let nodes: Api<Node> = Api::all(client);
    wait::until("the node to report its addresses", LIMIT, async || {
        let node = nodes
            .get("node2")
            .await
            .map_err(|error| error.to_string())?;
        let addresses = node
            .status
            .and_then(|status| status.addresses)
            .unwrap_or_default();
        let seen: Vec<_> = addresses
            .into_iter()
            .map(|address| address.address)
            .collect();
        match &seen[..] {
            [v4, v6, _] if v4 == "172.30.2.99" && v6 == "fd00:30:2::63" => Ok(()),
            _ => Err(seen.join(", ")),
        }
    })
    .await?;
    for address in cluster.node("node2")?.endpoint().ips() {
        assert!(reaches(cluster, address).await?, "{address}");
    }
    Ok(())
}

async fn a_snapshot_sees_what_was_made(cluster: &Cluster) -> Result<()> {
    let node = cluster.node("node1")?;
    let before = snapshot::take(&node).await?;
    let again = before.difference(&snapshot::take(&node).await?);
    assert!(again.is_empty(), "a quiet node changes by itself:\n{again}");
    let make = "
        ip link add weft.t type vxlan id 9 dstport 4789 local 172.30.1.11 && ip link set weft.t up
        ip route add 203.0.113.0/24 dev weft.t table 8700 proto 87
        ip -6 rule add priority 8710 lookup 8700
        ip nexthop add id 77 dev weft.t
        bridge fdb add 02:00:00:00:00:01 dev weft.t dst 172.30.2.12
        ip neigh add 203.0.113.9 lladdr 02:00:00:00:00:01 dev weft.t nud permanent
        nft add table inet weft
        nft add chain inet weft first
        nft add rule inet weft first accept
        sysctl -qw net.ipv4.conf.eth0.rp_filter=2
        mkdir -p /var/lib/weft/ipam && echo x > /etc/cni/net.d/10-weft.conflist";
    node.exec(["sh", "-ec", make]).await?;
    let difference = before.difference(&snapshot::take(&node).await?);
    let sections: BTreeSet<_> = difference
        .added
        .iter()
        .filter_map(|line| line.split(": ").next())
        .collect();
    for section in [
        "links",
        "IPv4 routes",
        "IPv6 rules",
        "nexthops",
        "neighbours",
        "forwarding database",
        "nft",
        "sysctls",
        "files",
    ] {
        assert!(
            sections.contains(section),
            "nothing in {section}:\n{difference}"
        );
    }
    let unmake = "
        ip nexthop del id 77; ip link del weft.t; ip -6 rule del priority 8710; nft delete table inet weft
        sysctl -qw net.ipv4.conf.eth0.rp_filter=0; rmdir /var/lib/weft/ipam; rm /etc/cni/net.d/10-weft.conflist";
    node.exec(["sh", "-ec", unmake]).await?;
    let difference = before.difference(&snapshot::take(&node).await?);
    assert!(difference.is_empty(), "{difference}");
    Ok(())
}

async fn a_full_disk_is_full_on_the_node_alone(cluster: &Cluster) -> Result<()> {
    let (node1, node2) = (cluster.node("node1")?, cluster.node("node2")?);
    let write = ["cp", "/etc/passwd", "/var/lib/weft/state"];
    node1.fill_disk()?;
    let refused = node1.exec(write).await.expect_err("full").to_string();
    assert!(refused.contains("No space left on device"), "{refused}");
    node2.exec(write).await?;
    node1.free_disk()?;
    node1.exec(write).await?;
    Ok(())
}

async fn services_stop_and_start(cluster: &Cluster) -> Result<()> {
    let node = cluster.node("node1")?;
    node.stop_service("kubelet").await?;
    assert_eq!(node.running_services().await?, ["containerd", "kube-proxy"]);
    node.start_service("kubelet").await?;
    let twice = node
        .start_service("kubelet")
        .await
        .expect_err("runs")
        .to_string();
    assert_eq!(twice, "node node1: kubelet runs already");
    Ok(())
}

async fn the_api_stops_and_remembers(cluster: &Cluster) -> Result<()> {
    cluster.stop_api()?;
    cluster
        .kubectl(["get", "nodes"])
        .await
        .expect_err("nobody answers");
    cluster.start_api().await?;
    cluster.kubectl(["get", "daemonset", "tools"]).await?;
    Ok(())
}

async fn power_goes_and_comes_back(cluster: &Cluster) -> Result<()> {
    let node = cluster.node("node2")?;
    node.exec([
        "sh",
        "-c",
        "echo kept > /var/lib/weft/state; ip route add 203.0.113.0/24 via 172.30.2.1",
    ])
    .await?;
    node.power_off().await?;
    assert!(
        !reaches(cluster, node.endpoint().primary()).await?,
        "it is off"
    );
    cluster.wait_nodes(&["node2"], false, LIMIT).await?;
    node.power_on().await?;
    cluster.wait_nodes(&["node2"], true, LIMIT).await?;
    assert_eq!(
        node.exec(["cat", "/var/lib/weft/state"]).await?.stdout,
        "kept\n"
    );
    let routes = node.exec(["ip", "route"]).await?.stdout;
    assert!(
        !routes.contains("203.0.113.0"),
        "the kernel forgets: {routes}"
    );
    node.shut_down().await?;
    assert!(node.pid1().is_none());
    node.power_on().await
}

async fn a_node_joins_later(cluster: &Cluster) -> Result<()> {
    cluster.add_node(NodeSpec::new("node3", "a")).await?;
    cluster
        .wait_nodes(&["node1", "node2", "node3"], true, LIMIT)
        .await?;
    cluster
        .wait_rollout("default", "daemonset/tools", LIMIT)
        .await
}

/// Whether node1 gets an answer from an address within two seconds.
async fn reaches(cluster: &Cluster, address: std::net::IpAddr) -> Result<bool> {
    let ping = [
        "busybox",
        "ping",
        "-q",
        "-c",
        "2",
        "-i",
        "0.2",
        "-W",
        "1",
        &address.to_string(),
    ];
    Ok(cluster
        .node("node1")?
        .command(ping)?
        .output()
        .await?
        .success())
}

fn testbed() -> std::process::Command {
    std::process::Command::new(env!("CARGO_BIN_EXE_weft-testbed"))
}

/// What a testbed could change on the machine itself.
struct Machine {
    sysctls: BTreeSet<String>,
    things: BTreeSet<String>,
}

impl Machine {
    fn now() -> Self {
        let list = |dir: &str| {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.path().display().to_string())
                .collect::<Vec<_>>()
        };
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let mut things: BTreeSet<_> = mounts.lines().map(str::to_owned).collect();
        things.extend(list("/sys/class/net"));
        things.extend(list("/run/netns"));
        things.extend(list("/var/lib"));
        things.extend(
            list("/sys/fs/cgroup")
                .iter()
                .flat_map(|hierarchy| list(hierarchy)),
        );
        let mut sysctls = BTreeSet::new();
        read_sysctls(Path::new("/proc/sys/kernel"), &mut sysctls);
        read_sysctls(Path::new("/proc/sys/vm"), &mut sysctls);
        Self { sysctls, things }
    }

    /// Other tests may be at work on the same machine, so what is new counts only
    /// if it bears the cluster's name or the testbed's.
    fn assert_unchanged(&self, cluster: &str) {
        let now = Self::now();
        assert_eq!(
            now.sysctls.difference(&self.sysctls).collect::<Vec<_>>(),
            Vec::<&String>::new()
        );
        let (own, base) = (format!("tb-{cluster}"), format!("weft-testbed/{cluster}"));
        let new: Vec<_> = now.things.difference(&self.things).collect();
        let ours: Vec<_> = new
            .iter()
            .filter(|what| what.contains(&own) || what.contains(&base))
            .collect();
        assert!(ours.is_empty(), "left: {ours:?}");
        assert!(netns::list(&own).is_empty());
    }
}

fn read_sysctls(dir: &Path, values: &mut BTreeSet<String>) {
    const VOLATILE: [&str; 4] = ["/random/", "ns_last_pid", "/pty/", "drop_caches"];
    for entry in std::fs::read_dir(dir).expect("sysctls").flatten() {
        let path = entry.path();
        let name = path.display().to_string();
        if path.is_dir() {
            read_sysctls(&path, values);
        } else if !VOLATILE.iter().any(|part| name.contains(part)) {
            // Some can only be written.
            if let Ok(value) = std::fs::read_to_string(&path) {
                values.insert(format!("{name} {value}"));
            }
        }
    }
}
