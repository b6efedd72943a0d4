//! CNI ADD and DEL, alone and many at once, beside the reference plugins.
//!
//! Each round measures all plugins, in an order that rotates. The reference plugins give IPv4 only
//! and don't masquerade, which is less work than Weft does: it gives both families.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use weft_e2e::tools;
use weft_ipam::{NodeBlock, NodeConfig, NodePodAddresses, Store};

use crate::progress;
use crate::report::{Aim, Row, Section, Sense};
use crate::stats::percentile;

/// Pods of a round.
const PODS: usize = 100;

/// One value a round, by plugin, then by what was measured.
type Samples = BTreeMap<String, BTreeMap<String, Vec<f64>>>;

/// A plugin with its configuration.
struct Plugin {
    name: &'static str,
    binary: String,
    config: Value,
}

/// Measures in a process of its own, whose namespaces go with it.
pub async fn run(rounds: usize) -> anyhow::Result<Section> {
    progress(&format!("plugins: {rounds} rounds"));
    let this = std::env::current_exe().context("cannot find this program")?;
    let output = tokio::process::Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(this)
        .args(["plugins-apart", &rounds.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(output.status.success(), "cannot measure the plugins");
    let samples: Samples = serde_json::from_slice(&output.stdout)?;
    Ok(section(&samples))
}

fn section(samples: &Samples) -> Section {
    let get = |plugin: &str, what: &str| {
        let found = samples.get(plugin).and_then(|measured| measured.get(what));
        found.cloned().unwrap_or_default()
    };
    let mut rows = Vec::new();
    for (other, aims) in [("bridge", [Some(5.0), Some(3.0)]), ("ptp", [None, None])] {
        for (what, unit, sense, aim) in [
            ("ADD p50", "ms", Sense::Less, aims[0]),
            ("ADD p99", "ms", Sense::Less, None),
            ("DEL p50", "ms", Sense::Less, None),
            ("DEL p99", "ms", Sense::Less, None),
            ("100 ADD", "/s", Sense::More, aims[1]),
            ("100 ADD p50", "ms", Sense::Less, None),
            ("100 ADD p99", "ms", Sense::Less, None),
            ("100 DEL", "/s", Sense::More, None),
        ] {
            let name = format!("{what}:{other}");
            let row = Row::new(name, unit, sense, &get("weft", what), &get(other, what));
            rows.push(match aim {
                Some(least) => row.aim(Aim::AtLeast(least)),
                None => row,
            });
        }
    }
    Section {
        title: "CNI plugin, one at a time and 100 at once, beside the reference plugins".into(),
        rows,
    }
}

/// What the process does that [`run`] starts: prints the samples as JSON.
pub fn apart(rounds: usize) -> anyhow::Result<()> {
    make_node()?;
    let pods: Vec<String> = (0..PODS).map(|n| format!("pod{n}")).collect();
    for pod in &pods {
        command("ip", &["netns", "add", pod])?;
    }
    let weft = tools::weft_binaries()?.join("weft-cni");
    let plugins = plugins(weft.display().to_string());
    let mut samples = Samples::new();
    for round in 0..rounds {
        for n in 0..plugins.len() {
            let plugin = &plugins[(round + n) % plugins.len()];
            // A bridge has to be made by the first pod, once on a node, not each time.
            call(plugin, "ADD", &pods[0])?;
            call(plugin, "DEL", &pods[0])?;
            measure(
                plugin,
                &pods,
                samples.entry(plugin.name.into()).or_default(),
            )?;
        }
    }
    println!("{}", serde_json::to_string(&samples)?);
    Ok(())
}

fn plugins(weft: String) -> [Plugin; 3] {
    let ipam = |subnet: &str| {
        json!({
            "type": "host-local", "dataDir": "/var/lib/cni/networks",
            "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}],
        })
    };
    let plugin = |name: &'static str, binary: String, mut config: Value| {
        config["cniVersion"] = "1.0.0".into();
        config["name"] = name.into();
        config["type"] = name.into();
        Plugin {
            name,
            binary,
            config,
        }
    };
    let bridge = json!({"bridge": "bench0", "isGateway": true, "ipam": ipam("10.7.0.0/22")});
    let ptp = json!({"ipam": ipam("10.8.0.0/22")});
    [
        plugin("weft", weft, json!({})),
        plugin("bridge", "/usr/lib/cni/bridge".into(), bridge),
        plugin("ptp", "/usr/lib/cni/ptp".into(), ptp),
    ]
}

fn measure(
    plugin: &Plugin,
    pods: &[String],
    into: &mut BTreeMap<String, Vec<f64>>,
) -> anyhow::Result<()> {
    let mut note = |what: String, value: Option<f64>| {
        into.entry(what).or_default().extend(value);
    };
    for verb in ["ADD", "DEL"] {
        let times = pods.iter().map(|pod| call(plugin, verb, pod));
        let times = times.collect::<anyhow::Result<Vec<f64>>>()?;
        note(format!("{verb} p50"), percentile(&times, 50.0));
        note(format!("{verb} p99"), percentile(&times, 99.0));
    }
    for verb in ["ADD", "DEL"] {
        let start = Instant::now();
        let times = std::thread::scope(|scope| {
            let calls: Vec<_> = pods
                .iter()
                .map(|pod| scope.spawn(move || call(plugin, verb, pod)))
                .collect();
            let ended = calls.into_iter().map(std::thread::ScopedJoinHandle::join);
            ended
                .map(|call| call.unwrap_or_else(|_| Err(anyhow::anyhow!("a call panicked"))))
                .collect::<anyhow::Result<Vec<f64>>>()
        })?;
        let rate = pods.len() as f64 / start.elapsed().as_secs_f64();
        note(format!("100 {verb}"), Some(rate));
        note(format!("100 {verb} p50"), percentile(&times, 50.0));
        note(format!("100 {verb} p99"), percentile(&times, 99.0));
    }
    Ok(())
}

/// Runs the plugin as a runtime does; gives the milliseconds until it has ended.
fn call(plugin: &Plugin, verb: &str, pod: &str) -> anyhow::Result<f64> {
    let input = plugin.config.to_string();
    let start = Instant::now();
    let mut child = Command::new(&plugin.binary)
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", pod)
        .env("CNI_NETNS", format!("/run/netns/{pod}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/usr/lib/cni")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", plugin.binary))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let elapsed = start.elapsed();
    ensure!(
        output.status.success(),
        "{} {verb}: {}",
        plugin.name,
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(elapsed.as_secs_f64() * 1e3)
}

/// A node of its own: network, mounts and store go with this process.
fn make_node() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("cannot make namespaces: run it as root")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    std::fs::create_dir_all("/run/netns")?;
    for place in ["/var/lib", "/run/netns"] {
        mount(none, place, Some("tmpfs"), MsFlags::empty(), none)?;
    }
    mount(none, "/run/netns", none, MsFlags::MS_PRIVATE, none)?;
    command("ip", &["link", "set", "lo", "up"])?;
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{setting}"), "1")?;
    }
    let (ipv4, ipv6): (IpAddr, IpAddr) = ("10.9.0.1".parse()?, "fd09::1".parse()?);
    command("ip", &["address", "add", "10.9.0.1/32", "dev", "lo"])?;
    command(
        "ip",
        &["address", "add", "fd09::1/128", "dev", "lo", "nodad"],
    )?;
    let mut config = NodeConfig {
        blocks: Vec::new(),
        node_pod_addresses: NodePodAddresses {
            ipv4: Some(ipv4.to_string().parse()?),
            ipv6: Some(ipv6.to_string().parse()?),
        },
        mtu: 1450,
        link_mtu: 1450,
    };
    for cidr in [
        "10.9.0.0/26",
        "10.9.0.64/26",
        "10.9.0.128/26",
        "fd09::/122",
        "fd09::40/122",
        "fd09::80/122",
    ] {
        config.blocks.push(NodeBlock {
            cidr: cidr.parse()?,
            allocatable: true,
        });
    }
    let store = Store::create(weft_cni::STATE_DIR)?;
    store.lock()?.write_node(&config)?;
    Ok(())
}

fn command(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(program).args(arguments).status()?;
    ensure!(status.success(), "{program} {arguments:?}: {status}");
    Ok(())
}
