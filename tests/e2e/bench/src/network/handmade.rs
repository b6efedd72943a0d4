//! The same topology made by hand with `ip` and `bridge`: two more machines on the nodes' own
//! subnet, each with a pod, a route for each pod, a VXLAN device, and the peer's block by a nexthop
//! object.
//!
//! The same as on the nodes: the underlay and its bridge, forwarding, the MTUs, and the table of
//! kube-proxy, which is copied from a node, so that conntrack and its chains see every packet.
//! Not there: Weft's nftables table and its rules that select route tables.

use std::net::IpAddr;

use anyhow::{Context, ensure};
use weft_e2e::plan::{Endpoint, host, netns as name_of};
use weft_e2e::{Cluster, netns, underlay};

use super::Path;
use crate::place::Place;

/// Numbers of the two in the subnet.
const NUMBERS: [u32; 2] = [201, 202];
/// What VXLAN over IPv4 adds to a packet, in bytes.
const OVERHEAD: u32 = 50;

/// Two machines with a pod each.
pub struct Handmade {
    sides: [Side; 2],
}

struct Side {
    machine: Place,
    pod: Place,
    /// Second last byte of all pod addresses.
    block: u8,
    underlay: IpAddr,
}

impl Handmade {
    /// Makes them beside the first node of a cluster. They go with the cluster.
    pub async fn make(cluster: &Cluster) -> anyhow::Result<Self> {
        let [first, second] = NUMBERS;
        let sides = [
            attach(cluster, 1, first).await?,
            attach(cluster, 2, second).await?,
        ];
        let mtu = cluster.nodes()?.first().context("no nodes")?.endpoint().mtu;
        let table = ["nft", "list", "table", "ip", "kube-proxy"];
        let node = cluster.nodes()?.remove(0);
        let rules = node.exec(table).await?.stdout;
        ensure!(
            rules.contains("hook"),
            "kube-proxy has no chains on {}",
            node.name()
        );
        for (this, other) in [(0, 1), (1, 0)] {
            let (this, other) = (&sides[this], &sides[other]);
            this.machine
                .feed("nft", &["-f", "-"], rules.clone())
                .await?;
            this.machine
                .feed(
                    "ip",
                    &["-batch", "-"],
                    machine_batch(this, other, mtu, cluster.name()),
                )
                .await?;
            let entry = format!(
                "fdb replace {} dev vxlan dst {}\n",
                mac(other.block, 1),
                other.underlay
            );
            this.machine.feed("bridge", &["-batch", "-"], entry).await?;
            this.pod
                .feed("ip", &["-batch", "-"], pod_batch(this))
                .await?;
        }
        Ok(Self { sides })
    }

    /// Sends by a path, both ways.
    pub async fn send(&self, path: Path) -> anyhow::Result<()> {
        for (this, other) in [(0, 1), (1, 0)] {
            let (this, other) = (&self.sides[this], &self.sides[other]);
            let order = format!("nexthop replace {}\n", nexthop(other, path));
            this.machine.feed("ip", &["-batch", "-"], order).await?;
        }
        Ok(())
    }

    /// The pod that begins, the one that answers, and its address.
    pub fn ends(&self) -> (Place, Place, IpAddr) {
        let [here, there] = &self.sides;
        (here.pod.clone(), there.pod.clone(), there.address(2))
    }
}

impl Side {
    fn address(&self, host: u8) -> IpAddr {
        [10, 201, self.block, host].into()
    }
}

async fn attach(cluster: &Cluster, block: u8, number: u32) -> anyhow::Result<Side> {
    let plan = cluster.plan()?;
    let node = plan.nodes.first().context("no nodes")?;
    let name = format!("hand{block}");
    let endpoint = Endpoint {
        netns: name_of(cluster.name(), &name),
        mac: mac(block, 0),
        addresses: node.addresses.iter().map(|net| host(net, number)).collect(),
        name,
        ..node.clone()
    };
    underlay::attach(&plan, &endpoint).await?;
    let forward = ("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    netns::set_sysctls(&endpoint.netns, [forward])?;
    let pod = pod_name(cluster.name(), block);
    netns::create(&pod)?;
    let underlay = endpoint.addresses.iter().map(|net| net.addr());
    let v4 = underlay.into_iter().find(IpAddr::is_ipv4);
    Ok(Side {
        machine: Place::named(&endpoint.netns),
        pod: Place::named(&pod),
        block,
        underlay: v4.context("the nodes have no IPv4")?,
    })
}

fn pod_name(cluster: &str, block: u8) -> String {
    name_of(cluster, &format!("handpod{block}"))
}

fn machine_batch(this: &Side, other: &Side, underlay_mtu: u32, cluster: &str) -> String {
    let mtu = underlay_mtu - OVERHEAD;
    let (block, pod) = (this.block, pod_name(cluster, this.block));
    let (own, there) = (this.address(1), other.address(1));
    [
        format!("address add {own}/32 dev lo"),
        format!(
            "link add name pod address {} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {pod}",
            mac(block, 2)
        ),
        "link set pod up".to_owned(),
        format!("route add {} dev pod src {own}", this.address(2)),
        format!(
            "link add vxlan address {} mtu {mtu} type vxlan id 4873 dstport 4789 local {} nolearning",
            mac(block, 1),
            this.underlay
        ),
        "link set vxlan up".to_owned(),
        format!(
            "neighbour replace {there} lladdr {} dev vxlan nud permanent",
            mac(other.block, 1)
        ),
        format!("nexthop add {}", nexthop(other, Path::Vxlan)),
        format!("route add 10.201.{}.0/26 nhid 1 src {own} mtu {mtu}", other.block),
        String::new(),
    ]
    .join("\n")
}

fn pod_batch(this: &Side) -> String {
    [
        "link set lo up".to_owned(),
        "link set eth0 up".to_owned(),
        format!("address add {}/32 dev eth0", this.address(2)),
        format!(
            "neighbour replace 169.254.1.1 lladdr {} dev eth0 nud permanent",
            mac(this.block, 2)
        ),
        "route add default via 169.254.1.1 dev eth0 onlink".to_owned(),
        String::new(),
    ]
    .join("\n")
}

fn nexthop(other: &Side, path: Path) -> String {
    match path {
        Path::Vxlan => format!("id 1 via {} dev vxlan onlink", other.address(1)),
        Path::Direct => format!("id 1 via {} dev eth0 onlink", other.underlay),
    }
}

fn mac(block: u8, device: u8) -> String {
    format!("02:be:00:00:{block:02x}:{device:02x}")
}
