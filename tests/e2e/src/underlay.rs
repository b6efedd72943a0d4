//! The network between the nodes: one namespace that holds a bridge per subnet
//! and forwards between them, and a veth pair from a bridge to each endpoint.

use std::fmt::Write;

use crate::command::Cmd;
use crate::error::{Context, Result};
use crate::netns;
use crate::plan::{Endpoint, Plan, Router};

/// Makes the router with its bridges, and the control plane's and outside host's namespaces.
pub async fn create(plan: &Plan) -> Result<()> {
    let router = plan.router_netns();
    netns::create(&router)?;
    set_sysctls(&router, &FORWARDING)?;
    quiet_bridges(&router)?;
    ip_batch(Some(&router), router_batch(plan)).await?;
    for endpoint in plan.endpoints() {
        attach(plan, endpoint).await?;
    }
    for rack_router in &plan.routers {
        set_sysctls(&rack_router.endpoint.netns, &FORWARDING)?;
        uplink(plan, rack_router).await?;
    }
    host_link(plan).await
}

/// Routers forward, choose among equal routes by connection, leave routes to dead links aside, and have the
/// addresses that they had when a link is back.
const FORWARDING: [(&str, &str); 9] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.default.keep_addr_on_down", "1"),
    ("net.ipv4.fib_multipath_hash_policy", "1"),
    ("net.ipv6.fib_multipath_hash_policy", "1"),
    ("net.ipv4.conf.default.ignore_routes_with_linkdown", "1"),
    ("net.ipv6.conf.default.ignore_routes_with_linkdown", "1"),
    ("net.ipv6.conf.all.ignore_routes_with_linkdown", "1"),
];

/// Links the router of a rack to that of the cluster.
async fn uplink(plan: &Plan, router: &Router) -> Result<()> {
    let (core, own) = (plan.router_netns(), &router.endpoint.netns);
    let (device, mtu) = (&router.uplink.device, router.endpoint.mtu);
    let pair = format!(
        "link add name {device} mtu {mtu} netns {core} type veth peer name eth1 mtu {mtu} netns {own}\n"
    );
    ip_batch(None, pair).await?;
    let side = |device: &str, addresses: &[ipnet::IpNet]| {
        let mut batch = format!("link set {device} addrgenmode eui64 up\n");
        for address in addresses {
            // Writing to a String cannot fail.
            let _ = writeln!(
                batch,
                "address add {address} dev {device}{}",
                nodad(address)
            );
        }
        batch
    };
    ip_batch(Some(&core), side(device, &router.uplink.core)).await?;
    let mut batch = side("eth1", &router.uplink.router);
    for core in &router.uplink.core {
        // The way out until BGP tells a better one.
        let _ = writeln!(
            batch,
            "route add default via {} dev eth1 metric 4278",
            core.addr()
        );
    }
    ip_batch(Some(own), batch).await
}

/// Makes an endpoint's namespace and connects it to its bridge.
pub async fn attach(plan: &Plan, endpoint: &Endpoint) -> Result<()> {
    netns::create(&endpoint.netns)?;
    // The address of an endpoint is planned, so nobody else can have it; link-local
    // ones would delay the first packets by a second or two.
    set_sysctls(
        &endpoint.netns,
        &[("net.ipv6.conf.default.accept_dad", "0")],
    )?;
    ip_batch(None, veth_batch(&plan.router_netns(), endpoint)).await?;
    set_sysctls(
        &endpoint.netns,
        &[
            ("net.ipv6.conf.default.accept_dad", "1"),
            ("net.ipv6.conf.eth0.accept_ra", "0"),
        ],
    )?;
    let port = format!("link set {} master {} up\n", endpoint.name, endpoint.bridge);
    ip_batch(Some(&plan.router_netns()), port).await?;
    ip_batch(Some(&endpoint.netns), endpoint_batch(endpoint)).await
}

/// Removes an endpoint's namespace, and with it the port on the bridge.
pub async fn detach(plan: &Plan, endpoint: &Endpoint) -> Result<()> {
    // The device goes at once; the namespace lives on while something still holds it.
    let gone = Cmd::new("ip").args(["-n", &plan.router_netns(), "link", "delete", &endpoint.name]);
    let _ = gone.output().await?;
    netns::delete(&endpoint.netns)
}

/// Replaces the addresses of an endpoint that is up by those that are planned for it.
pub async fn readdress(endpoint: &Endpoint) -> Result<()> {
    // The new ones first, so that the default routes never have to go.
    ip_batch(Some(&endpoint.netns), addresses_batch(endpoint)).await?;
    let show = [
        "-n",
        &endpoint.netns,
        "-json",
        "address",
        "show",
        "dev",
        "eth0",
        "scope",
        "global",
    ];
    let shown = Cmd::new("ip").args(show).run().await?.stdout;
    let links: Vec<serde_json::Value> = serde_json::from_str(&shown)
        .doing(|| format!("read the addresses of {}", endpoint.name))?;
    let present = links
        .iter()
        .filter_map(|link| link["addr_info"].as_array())
        .flatten();
    let mut batch = String::new();
    for address in present {
        // `ip -json` writes an empty object for an address of another scope.
        let Some(local) = address["local"].as_str() else {
            continue;
        };
        let text = format!("{local}/{}", address["prefixlen"]);
        if !endpoint
            .addresses
            .iter()
            .any(|planned| planned.to_string() == text)
        {
            // Writing to a String cannot fail.
            let _ = writeln!(batch, "address delete {text} dev eth0");
        }
    }
    // The kernel may have taken routes away with the address that they preferred.
    let _ = write!(batch, "{}", addresses_batch(endpoint));
    ip_batch(Some(&endpoint.netns), batch).await
}

async fn host_link(plan: &Plan) -> Result<()> {
    let link = &plan.host_link;
    let control = &plan.control.netns;
    let batch = format!(
        "link add name {device} type veth peer name host0 netns {control}\n\
         link set {device} addrgenmode none\n\
         address add {host} dev {device}\n\
         link set {device} up\n",
        device = link.device,
        host = link.host,
    );
    ip_batch(None, batch).await?;
    let batch = format!(
        "link set host0 addrgenmode none\naddress add {} dev host0\nlink set host0 up\n",
        link.control
    );
    ip_batch(Some(control), batch).await
}

// Bridged packets are not to pass the router's iptables; without the module there
// is nothing to turn off.
fn quiet_bridges(router: &str) -> Result<()> {
    netns::within(router, || {
        for name in ["iptables", "ip6tables", "arptables"] {
            let _ = std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{name}"), "0");
        }
        Ok(())
    })
}

fn router_batch(plan: &Plan) -> String {
    let mut batch = String::from("link set lo up\n");
    for subnet in &plan.subnets {
        let (bridge, mtu) = (&subnet.bridge, subnet.mtu);
        // Writing to a String cannot fail.
        let _ = writeln!(
            batch,
            "link add name {bridge} type bridge stp_state 0 mcast_snooping 0"
        );
        let _ = writeln!(batch, "link set {bridge} mtu {mtu} addrgenmode none up");
        let own = subnet.gateways.iter().filter(|_| !subnet.rack);
        for gateway in own {
            let _ = writeln!(
                batch,
                "address add {gateway} dev {bridge}{}",
                nodad(gateway)
            );
        }
    }
    batch
}

fn veth_batch(router: &str, endpoint: &Endpoint) -> String {
    let Endpoint {
        name,
        netns,
        mtu,
        mac,
        ..
    } = endpoint;
    format!(
        "link add name {name} mtu {mtu} netns {router} type veth peer name eth0 mtu {mtu} address {mac} netns {netns}\n"
    )
}

fn endpoint_batch(endpoint: &Endpoint) -> String {
    let batch = String::from("link set lo up\nlink set eth0 up\n");
    batch + &addresses_batch(endpoint)
}

fn addresses_batch(endpoint: &Endpoint) -> String {
    let mut batch = String::new();
    for address in &endpoint.addresses {
        let _ = writeln!(
            batch,
            "address replace {address} dev eth0{}",
            nodad(address)
        );
    }
    for gateway in &endpoint.gateways {
        let _ = writeln!(batch, "route replace default via {gateway} dev eth0");
    }
    batch
}

fn set_sysctls(netns: &str, values: &[(&str, &str)]) -> Result<()> {
    let owned = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    netns::set_sysctls(netns, owned)
}

fn nodad(address: &ipnet::IpNet) -> &'static str {
    if address.addr().is_ipv6() {
        " nodad"
    } else {
        ""
    }
}

/// Runs lines of `ip -batch`, in a namespace or in the machine's own.
pub(crate) async fn ip_batch(netns: Option<&str>, lines: String) -> Result<()> {
    let place = netns.map(|name| ["-n", name]);
    let ip = Cmd::new("ip")
        .args(place.into_iter().flatten())
        .args(["-batch", "-"]);
    ip.stdin(lines).run().await.map(|_| ())
}
