//! Two racks and the routers between them, with a BIRD in the place of a node's agent; no Kubernetes.

use std::collections::BTreeSet;
use std::time::Duration;

use ipnet::IpNet;
use weft_e2e::command::Cmd;
use weft_e2e::launch::Launch;
use weft_e2e::plan::host;
use weft_e2e::process::{ProcessId, kill_and_wait};
use weft_e2e::routers::Routers;
use weft_e2e::state::StateDir;
use weft_e2e::{Cluster, ClusterSpec, Result, leftovers, underlay, wait};

const LIMIT: Duration = Duration::from_secs(60);
const PODS: [&str; 2] = ["10.244.7.0/26", "fd00:10:244:7::/122"];

/// One test, because the racks are dear: each step leaves them as they were.
#[tokio::test(flavor = "multi_thread")]
async fn racks_learn_of_pods_and_leave_nothing() {
    let guard = Guard("racktest");
    leftovers::remove(guard.0).expect("nothing is left of another run");
    let cluster = racks(guard.0).await.expect("comes up");

    let nodes = [
        Agent::start(&cluster, "node1", 1).await.expect("starts"),
        Agent::start(&cluster, "node3", 3).await.expect("starts"),
    ];
    everybody_learns_of_pods(&cluster).await.expect("routes");
    pods_are_reached(&cluster).await.expect("reached");
    let lost = a_router_restarts(&cluster, "tor-a")
        .await
        .expect("BIRD restarts");
    assert_eq!(lost, 0, "packets while BIRD restarted");
    // FRR forgets what nodes have not told it again when its other sessions have told all: a race.
    a_router_restarts(&cluster, "tor-b")
        .await
        .expect("FRR restarts");
    routes_outlive_an_agent(&cluster, &nodes)
        .await
        .expect("routes stay");
    routers_tell_nodes_what_they_are_told_to(&cluster)
        .await
        .expect("announcements");
    a_cut_uplink_is_a_cut_rack(&cluster).await.expect("cut");

    drop(guard);
    let left = leftovers::find("racktest").expect("looked for");
    assert_eq!(left, Vec::<String>::new());
}

/// The underlay and its routers alone.
async fn racks(name: &str) -> Result<Cluster> {
    let (dir, saved) = StateDir::create(ClusterSpec::racks(name).validated()?)?;
    let routers = Routers::of(&dir, &saved);
    routers.check()?;
    underlay::create(&saved.plan()).await?;
    routers.start_all().await?;
    Cluster::attach(name)
}

async fn everybody_learns_of_pods(cluster: &Cluster) -> Result<()> {
    for (place, blocks) in [
        ("outside", [1, 3].map(pods_of).concat()),
        ("router", [1, 3].map(pods_of).concat()),
        ("tor-a", [1, 3].map(pods_of).concat()),
        ("tor-b", [1, 3].map(pods_of).concat()),
        ("node1", pods_of(3)),
        ("node3", pods_of(1)),
    ] {
        knows(cluster, place, &blocks, true).await?;
    }
    // Of the racks they know by their default route.
    let racks: BTreeSet<IpNet> = nets(&["172.30.1.0/24", "172.30.2.0/24"]);
    let learned = cluster.learned("node1").await?;
    assert!(learned.is_disjoint(&racks), "{learned:?}");
    Ok(())
}

async fn pods_are_reached(cluster: &Cluster) -> Result<()> {
    for place in ["outside", "node1", "tor-a", "router"] {
        for address in ["10.244.3.1", "fd00:10:244:3::1"] {
            ping(cluster, place, address).await?;
        }
    }
    Ok(())
}

/// Sessions and routes come back. Gives how many packets were lost meanwhile.
async fn a_router_restarts(cluster: &Cluster, router: &str) -> Result<u32> {
    let before = cluster.learned(router).await?;
    assert!(before.is_superset(&pods_of(1).into_iter().collect()));
    let address = "10.244.3.1";
    watch(cluster, address, async || {
        cluster.restart_router(router).await?;
        // Longer than any restart takes.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        everybody_learns_of_pods(cluster).await
    })
    .await
}

/// Agents are killed; routes stay beyond hold and restart time, since routers know long-lived graceful restart.
async fn routes_outlive_an_agent(cluster: &Cluster, nodes: &[Agent]) -> Result<()> {
    for node in nodes {
        kill_and_wait(&[node.process])?;
    }
    tokio::time::sleep(Duration::from_secs(25)).await;
    everybody_learns_of_pods(cluster).await?;
    pods_are_reached(cluster).await?;
    for node in nodes {
        node.launch.start().await?;
    }
    everybody_learns_of_pods(cluster).await
}

async fn routers_tell_nodes_what_they_are_told_to(cluster: &Cluster) -> Result<()> {
    let lies: Vec<IpNet> = nets(&["10.244.0.0/16", "172.30.1.11/32", "fd00:10:244::/56"])
        .into_iter()
        .collect();
    for (router, node) in [("tor-a", "node1"), ("tor-b", "node3")] {
        let up = established(cluster, node).await?;
        cluster
            .set_router(router, |settings| settings.announced = lies.clone())
            .await?;
        knows(cluster, node, &lies, true).await?;
        for honest in [router, "router", "outside"] {
            knows(cluster, honest, &lies, false).await?;
        }
        cluster
            .set_router(router, |settings| settings.announced.clear())
            .await?;
        knows(cluster, node, &lies, false).await?;
        // BIRD works the time out anew whenever it is asked, and is a millisecond out now and then.
        let moved = established(cluster, node).await? - up;
        assert!(moved.abs() < 0.1, "{node}'s session was reset");
    }
    everybody_learns_of_pods(cluster).await
}

async fn a_cut_uplink_is_a_cut_rack(cluster: &Cluster) -> Result<()> {
    cluster.link_down("up-tor-b").await?;
    knows(cluster, "outside", &pods_of(3), false).await?;
    knows(cluster, "outside", &pods_of(1), true).await?;
    cluster.link_up("up-tor-b").await?;
    everybody_learns_of_pods(cluster).await?;
    pods_are_reached(cluster).await
}

/// A BIRD in the network namespace of a node: announces a block per family, and has an address of each.
struct Agent {
    launch: Launch,
    process: ProcessId,
}

impl Agent {
    async fn start(cluster: &Cluster, node: &str, number: u8) -> Result<Self> {
        let endpoint = cluster.node(node)?.endpoint().clone();
        let blocks = pods_of(number);
        for block in &blocks {
            let address = host(block, 1).addr();
            let add = ["address", "add", &address.to_string(), "dev", "lo"];
            Cmd::new("ip")
                .args(["-n", &endpoint.netns])
                .args(add)
                .run()
                .await?;
        }
        let asn = 64600 + u32::from(number);
        let mut text = format!(
            "router id 192.0.2.{};\nprotocol device {{ }}\n",
            100 + number
        );
        for (block, gateway) in blocks.iter().zip(&endpoint.gateways) {
            let family = if gateway.is_ipv4() { 4 } else { 6 };
            text += &format!(
                "protocol kernel {{ ipv{family} {{ import none; export where source = RTS_BGP; }}; persist; }}\n\
                 protocol static {{ ipv{family}; route {block} blackhole; }}\n\
                 protocol bgp tor{family} {{\n local as {asn}; neighbor {gateway} external;\n \
                 connect delay time 1; connect retry time 1; error wait time 1, 1;\n \
                 graceful restart on; graceful restart time 5;\n \
                 long lived graceful restart on; long lived stale time 3600;\n \
                 ipv{family} {{ import all; export where source = RTS_STATIC; }};\n}}\n"
            );
        }
        let dir = cluster.dir().file("nodes");
        let config = dir.join(format!("{node}.conf")).display().to_string();
        std::fs::write(&config, text).expect("written");
        let socket = dir.join(format!("{node}.ctl")).display().to_string();
        let argv = ["bird", "-f", "-c", &config, "-s", &socket].map(str::to_owned);
        let launch = Launch {
            argv: argv.to_vec(),
            netns: endpoint.netns.clone(),
            cgroup: None,
            machine: false,
            log: dir.join(format!("{node}.log")),
            pid_file: cluster.dir().file("pids").join(node),
            cluster: cluster.name().to_owned(),
        };
        let process = launch.start().await?;
        Ok(Self { launch, process })
    }
}

/// When the session of the node with its router came up, in seconds of the day.
async fn established(cluster: &Cluster, node: &str) -> Result<f64> {
    let socket = cluster.dir().file("nodes").join(format!("{node}.ctl"));
    let show = ["show", "protocols", "tor4"];
    let said = Cmd::new("birdc")
        .args(["-s".as_ref(), socket.as_os_str()])
        .args(show);
    let said = said.run().await?.stdout;
    let line = said.lines().last().unwrap_or_default();
    assert!(line.contains("Established"), "{said}");
    let time = line.split_whitespace().find(|word| word.contains(':'));
    let parts = time.unwrap_or_default().split(':');
    let parts: Vec<f64> = parts.filter_map(|part| part.parse().ok()).collect();
    let [hours, minutes, seconds] = parts[..] else {
        panic!("no time in {line:?}");
    };
    Ok((hours * 60.0 + minutes) * 60.0 + seconds)
}

/// The blocks of the node with this number.
fn pods_of(number: u8) -> Vec<IpNet> {
    PODS.iter()
        .map(|pods| pods.replace('7', &number.to_string()))
        .map(|text| text.parse().expect("a range"))
        .collect()
}

/// Waits until a place has learned all of `blocks`, or none.
async fn knows(cluster: &Cluster, place: &str, blocks: &[IpNet], all: bool) -> Result<()> {
    let what = format!("{place} to know {blocks:?}: {all}");
    wait::until(what, LIMIT, async || {
        let learned = cluster.learned(place).await.map_err(|e| e.to_string())?;
        if blocks.iter().all(|block| learned.contains(block) == all) {
            Ok(())
        } else {
            Err(format!("{learned:?}"))
        }
    })
    .await
}

async fn ping(cluster: &Cluster, place: &str, address: &str) -> Result<()> {
    let argv = ["busybox", "ping", "-c", "1", "-W", "5", address];
    cluster.command_in(place, argv)?.run().await.map(|_| ())
}

/// How many packets from the outside host to `address` were lost during `deed`.
async fn watch(
    cluster: &Cluster,
    address: &str,
    deed: impl AsyncFnOnce() -> Result<()>,
) -> Result<u32> {
    let argv = [
        "timeout", "-s", "INT", "30", "busybox", "ping", "-i", "0.01", "-W", "1", address,
    ];
    let ping = cluster.command_in("outside", argv)?.output();
    let (report, done) = tokio::join!(ping, deed());
    done?;
    let report = report?.stdout;
    let summary = report
        .lines()
        .find(|line| line.contains("packets transmitted"));
    let numbers: Vec<u32> = summary
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [sent, received, ..] = numbers[..] else {
        panic!("ping said {report:?}");
    };
    assert!(sent > 100, "{report}");
    // The one that was under way when it was told to end.
    Ok((sent - received).saturating_sub(1))
}

fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
    let parsed = texts.iter().map(|text| text.parse().expect("a range"));
    parsed.collect()
}

/// Removes everything, whatever comes of the test.
struct Guard(&'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(error) = leftovers::remove(self.0) {
            eprintln!("{error}");
        }
    }
}
