//! Traffic of every kind at once, from its start to its account.
//!
//! Clients run in the network namespaces of pods, nodes and the outside host, but are processes of
//! the testbed: whatever happens to the API server, the kubelet or the runtime, they go on.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::future::try_join_all;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use weft_e2e::command::Cmd;
use weft_load::merge::Merged;
use weft_load::plan::{Bulk, Dns, Exchange, Flow, Kind, Plan, Record, Size, Udp};
use weft_load::report::Report;
use weft_load::{CONTROL_PORT, PORT};

use crate::balancer;
use crate::stage::{NODE_PORT, SERVICE_PORT, Server, Stage};

/// How much traffic.
#[derive(Debug, Clone, Copy)]
pub struct Volume {
    /// Datagrams a second of all flows between pods together, there and back.
    pub datagrams: u32,
    /// Long-lived connections of all kinds together, about.
    pub connections: usize,
    /// The outside host talks to pods by their addresses, where routers know these.
    pub outside_to_pods: bool,
    /// Some goes by the addresses of a load balancer.
    pub balanced: bool,
}

impl Volume {
    /// What a scenario has beside it.
    pub const MODERATE: Self = Self {
        datagrams: 10_000,
        connections: 300,
        outside_to_pods: true,
        balanced: false,
    };
    /// What the demo shows.
    pub const FULL: Self = Self {
        datagrams: 50_000,
        connections: 400,
        outside_to_pods: true,
        balanced: false,
    };

    /// The same while modes change: by a load balancer too, but without what works in one mode alone; hosts beyond the
    /// cluster know pods in mode BGP only.
    #[must_use]
    pub fn in_every_mode(self) -> Self {
        Self {
            outside_to_pods: false,
            balanced: true,
            ..self
        }
    }
}

/// Where a client runs.
#[derive(Debug, Clone)]
struct Place {
    /// The name in its report.
    name: String,
    /// The command that enters it.
    enter: Vec<String>,
}

struct Client {
    place: Place,
    child: Child,
    plan: PathBuf,
}

/// Traffic that flows.
pub struct Traffic {
    clients: Vec<Client>,
    outside: Option<Child>,
}

impl Traffic {
    /// Starts all clients and waits until every flow has worked once.
    pub async fn start(stage: &Stage, volume: Volume) -> anyhow::Result<Self> {
        forget_former(stage).await?;
        let servers = stage.servers().await?;
        let mut traffic = Self {
            clients: Vec::new(),
            outside: None,
        };
        traffic.outside = Some(serve_outside(stage)?);
        let mut plans = Vec::new();
        for server in &servers {
            plans.push((
                pod_place(stage, server).await?,
                pod_flows(stage, server, &servers, volume).await?,
            ));
        }
        for node in stage.cluster.nodes()? {
            let place = node_place(stage, node.name())?;
            plans.push((
                place,
                host_flows(stage, node.name(), &servers, volume).await?,
            ));
        }
        let mut outside = outside_flows(stage, volume)?;
        if stage.cluster.spec()?.routed() && volume.outside_to_pods {
            outside.extend(outside_to_pods(&servers, volume));
        }
        plans.push((outside_place(stage)?, outside));
        if volume.balanced {
            let addresses = balancer::set(stage).await?;
            let share = volume.connections / 16 / plans.len() / addresses.len().max(1);
            for (_, flows) in &mut plans {
                flows.extend(to_balancer(&addresses, share));
            }
        }
        for (place, flows) in plans {
            traffic.clients.push(spawn(stage, place, flows)?);
        }
        try_join_all(traffic.clients.iter().map(|client| client.tell("ready"))).await?;
        try_join_all(traffic.clients.iter().map(|client| client.tell("reset"))).await?;
        Ok(traffic)
    }

    /// Stops all clients and adds up what they say. One that ended by itself is an error, unless it
    /// was on a node of `dead`.
    pub async fn stop(mut self, dead: &[&str]) -> anyhow::Result<Vec<Report>> {
        let alive =
            |client: &&mut Client| !dead.iter().any(|node| client.place.name.ends_with(node));
        let clients: Vec<&mut Client> = self.clients.iter_mut().filter(alive).collect();
        try_join_all(clients.into_iter().map(Client::finish)).await
    }
}

/// The table of what was sent and lost, by kind.
pub fn table(reports: &[Report]) -> String {
    Merged::of(reports).table().to_string()
}

/// What went wrong, one line each; nothing if nothing did.
pub fn faults(reports: &[Report]) -> Vec<String> {
    reports.iter().flat_map(Report::faults).collect()
}

/// Checks that nothing was lost, broken or damaged; prints the table if something was.
pub fn assert_lossless(reports: &[Report]) -> anyhow::Result<()> {
    let faults = faults(reports);
    if faults.is_empty() {
        return Ok(());
    }
    println!("{}", table(reports));
    bail!("traffic suffered:\n{}", faults.join("\n"))
}

impl Client {
    fn command(&self, program: &[&str]) -> Cmd {
        let words = self
            .place
            .enter
            .iter()
            .map(String::as_str)
            .chain(program.iter().copied());
        let mut words = words.collect::<Vec<_>>().into_iter();
        Cmd::new(words.next().unwrap_or_default()).args(words)
    }

    async fn tell(&self, what: &str) -> anyhow::Result<()> {
        let binary = load_binary()?;
        let address = format!("127.0.0.1:{CONTROL_PORT}");
        let arguments = [&*binary, "ctl", "--addr", &address, "--timeout", "60", what];
        let told = self
            .command(&arguments)
            .timeout(Duration::from_secs(70))
            .run()
            .await;
        told.with_context(|| format!("client {}", self.place.name))?;
        Ok(())
    }

    async fn finish(&mut self) -> anyhow::Result<Report> {
        self.tell("stop").await?;
        let mut text = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            stdout.read_to_string(&mut text).await?;
        }
        self.child.wait().await?;
        let _ = std::fs::remove_file(&self.plan);
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last)
            .with_context(|| format!("client {} gave no report but {last:?}", self.place.name))
    }
}

/// Has the nodes forget what former clients had with the Service. A connection that was never answered, because a
/// node or a pod was gone, is remembered with its translation for two minutes (`nf_conntrack_tcp_timeout_syn_sent`,
/// which no retransmission renews): a new one from the same port, and the kernel gives ports again within seconds, would
/// be sent after it.
async fn forget_former(stage: &Stage) -> anyhow::Result<()> {
    // Where there is nothing to delete, that is an error too.
    let script = format!(
        "conntrack --version >/dev/null || exit; for family in ipv4 ipv6; do for port in {NODE_PORT} {SERVICE_PORT}; do \
         conntrack --delete --family $family --proto tcp --orig-port-dst $port; done; done >/dev/null 2>&1; true"
    );
    for node in stage.cluster.nodes()? {
        node.exec(["sh", "-c", &script]).await?;
    }
    Ok(())
}

fn load_binary() -> anyhow::Result<String> {
    let path = weft_e2e::tools::weft_binaries()?.join("weft-load");
    ensure!(
        path.is_file(),
        "{} is not there: run `make binaries`",
        path.display()
    );
    Ok(path.to_string_lossy().into_owned())
}

fn spawn(stage: &Stage, place: Place, flows: Vec<Flow>) -> anyhow::Result<Client> {
    let plan = Plan {
        name: place.name.clone(),
        start_timeout_ms: 60_000,
        drain_ms: 2_000,
        tick_us: 2_000,
        flows,
    };
    let path = stage
        .cluster
        .dir()
        .file(&format!("plan-{}.json", place.name));
    std::fs::write(&path, serde_json::to_string(&plan)?)?;
    let control = format!("127.0.0.1:{CONTROL_PORT}");
    let child = Command::new(&place.enter[0])
        .args(&place.enter[1..])
        .args([
            &load_binary()?,
            "run",
            "--quiet",
            "--control",
            &control,
            "--plan",
        ])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start client {}", place.name))?;
    Ok(Client {
        place,
        child,
        plan: path,
    })
}

fn serve_outside(stage: &Stage) -> anyhow::Result<Child> {
    let place = outside_place(stage)?;
    let mut command = Command::new(&place.enter[0]);
    command
        .args(&place.enter[1..])
        .args([&load_binary()?, "serve"]);
    Ok(command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?)
}

/// In the network namespace of a pod. Only the network is entered: in the node's process namespace a
/// client would outlive a scenario that fails, and through the node's view of the machine's files it
/// would see an old plan.
async fn pod_place(stage: &Stage, server: &Server) -> anyhow::Result<Place> {
    let netns = server.netns(stage).await?;
    Ok(Place {
        name: format!("pod-{}", server.node),
        enter: vec![
            "nsenter".to_owned(),
            format!("--net={}", netns.display()),
            "--".to_owned(),
        ],
    })
}

fn node_place(stage: &Stage, name: &str) -> anyhow::Result<Place> {
    let netns = stage.cluster.node(name)?.endpoint().netns.clone();
    Ok(Place {
        name: format!("host-{name}"),
        enter: enter_netns(&netns),
    })
}

fn outside_place(stage: &Stage) -> anyhow::Result<Place> {
    Ok(Place {
        name: "outside".into(),
        enter: enter_netns(&stage.cluster.outside()?.netns),
    })
}

fn enter_netns(name: &str) -> Vec<String> {
    let path = weft_e2e::netns::path(name);
    vec![
        "nsenter".into(),
        format!("--net={}", path.display()),
        "--".into(),
    ]
}

async fn pod_flows(
    stage: &Stage,
    here: &Server,
    servers: &[Server],
    volume: Volume,
) -> anyhow::Result<Vec<Flow>> {
    let mut flows = Vec::new();
    let others: Vec<&Server> = servers
        .iter()
        .filter(|server| server.node != here.node)
        .collect();
    let pairs: usize = others.iter().map(|server| server.addresses.len()).sum();
    let share = volume.connections / 8 / (pairs * servers.len()).max(1);
    // Half of the datagrams that are counted come back as echoes; two flows a pair.
    let rate = volume.datagrams / (4 * pairs * servers.len()).max(1) as u32;
    for server in others {
        for address in &server.addresses {
            let target = SocketAddr::new(*address, PORT);
            let name = |kind: &str| format!("{kind} {target}");
            let small = Udp {
                rate,
                size: Size::Bytes(200),
                df: false,
            };
            flows.push(flow(
                name("udp"),
                "pod to pod, UDP",
                target,
                Kind::Udp(small),
            ));
            let full = Udp {
                rate,
                size: Size::Mtu,
                df: true,
            };
            flows.push(flow(
                name("full"),
                "pod to pod, full size",
                target,
                Kind::Udp(full),
            ));
            flows.push(flow(
                name("tcp"),
                "pod to pod, TCP",
                target,
                Kind::Tcp(exchange(share)),
            ));
            let bulk = Bulk {
                connections: 1,
                rate: 1 << 20,
                ..Bulk::default()
            };
            flows.push(flow(
                name("bulk"),
                "pod to pod, bulk",
                target,
                Kind::Bulk(bulk),
            ));
        }
    }
    for address in stage.service("default", "server").await? {
        let target = SocketAddr::new(address, SERVICE_PORT);
        let tcp = Kind::Tcp(exchange(volume.connections / 8 / servers.len() / 2));
        flows.push(flow(
            format!("service {target}"),
            "pod to Service",
            target,
            tcp,
        ));
    }
    for address in stage.service("kube-system", "kube-dns").await? {
        let target = SocketAddr::new(address, 53);
        let dns = Dns {
            query: "kubernetes.default.svc.cluster.local".into(),
            records: vec![Record::A, Record::Aaaa],
            interval_ms: 50,
            ..Dns::default()
        };
        flows.push(flow(
            format!("dns {target}"),
            "pod to DNS",
            target,
            Kind::Dns(dns),
        ));
    }
    for net in &stage.cluster.outside()?.addresses {
        let target = SocketAddr::new(net.addr(), PORT);
        let tcp = Kind::Tcp(exchange(volume.connections / 16 / servers.len()));
        flows.push(flow(
            format!("outside {target}"),
            "pod to outside",
            target,
            tcp,
        ));
    }
    Ok(flows)
}

async fn host_flows(
    stage: &Stage,
    node: &str,
    servers: &[Server],
    volume: Volume,
) -> anyhow::Result<Vec<Flow>> {
    let mut flows = Vec::new();
    let share = volume.connections / 8 / servers.len() / servers.len() / 2;
    for server in servers.iter().filter(|server| server.node != node) {
        for address in &server.addresses {
            let target = SocketAddr::new(*address, PORT);
            let tcp = Kind::Tcp(exchange(share));
            flows.push(flow(format!("host {target}"), "host to pod", target, tcp));
        }
    }
    for address in stage.service("default", "server").await? {
        let target = SocketAddr::new(address, SERVICE_PORT);
        let tcp = Kind::Tcp(exchange(volume.connections / 8 / servers.len() / 2));
        flows.push(flow(
            format!("host {target}"),
            "host to Service",
            target,
            tcp,
        ));
    }
    Ok(flows)
}

fn outside_flows(stage: &Stage, volume: Volume) -> anyhow::Result<Vec<Flow>> {
    let mut flows = Vec::new();
    let nodes = stage.cluster.nodes()?;
    let addresses: Vec<IpAddr> = nodes
        .iter()
        .flat_map(|node| node.endpoint().addresses.iter().map(ipnet::IpNet::addr))
        .collect();
    let share = volume.connections / 4 / addresses.len().max(1);
    for address in addresses {
        let target = SocketAddr::new(address, NODE_PORT);
        let tcp = Kind::Tcp(exchange(share));
        flows.push(flow(
            format!("tcp {target}"),
            "outside to NodePort",
            target,
            tcp,
        ));
        let new = Kind::Connect(exchange(1));
        flows.push(flow(format!("new {target}"), "NodePort, new", target, new));
        let udp = Kind::Udp(Udp {
            rate: 50,
            size: Size::Bytes(200),
            df: false,
        });
        flows.push(flow(format!("udp {target}"), "NodePort, UDP", target, udp));
    }
    Ok(flows)
}

/// By the routes that the outside host has learned.
fn outside_to_pods(servers: &[Server], volume: Volume) -> Vec<Flow> {
    let addresses = servers.iter().flat_map(|server| &server.addresses);
    let targets: Vec<SocketAddr> = addresses.map(|ip| SocketAddr::new(*ip, PORT)).collect();
    let share = volume.connections / 8 / targets.len().max(1);
    let flows = targets.into_iter().flat_map(|target| {
        let udp = Kind::Udp(Udp {
            rate: 100,
            size: Size::Mtu,
            df: true,
        });
        let tcp = Kind::Tcp(exchange(share));
        [("udp", udp), ("tcp", tcp)]
            .map(|(name, kind)| flow(format!("{name} {target}"), "outside to pod", target, kind))
    });
    flows.collect()
}

/// Through the addresses of a load balancer: connections that stay, and new ones.
fn to_balancer(addresses: &[IpAddr], share: usize) -> Vec<Flow> {
    let flows = addresses.iter().flat_map(|address| {
        let target = SocketAddr::new(*address, SERVICE_PORT);
        let kinds = [
            ("held", Kind::Tcp(exchange(share))),
            ("new", Kind::Connect(exchange(1))),
        ];
        kinds.map(|(name, kind)| {
            let name = format!("{name} {target}");
            flow(name, "to LoadBalancer", target, kind)
        })
    });
    flows.collect()
}

fn exchange(connections: usize) -> Exchange {
    Exchange {
        connections: connections.max(1),
        interval_ms: 100,
        ..Exchange::default()
    }
}

fn flow(name: String, group: &str, target: SocketAddr, kind: Kind) -> Flow {
    Flow {
        name,
        group: Some(group.into()),
        target,
        source: None,
        device: None,
        kind,
    }
}
