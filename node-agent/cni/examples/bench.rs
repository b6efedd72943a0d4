//! How long ADD and DEL take, alone and many at once, beside the reference plugins. Prints one JSON object.
//!
//! Usage: `bench PLUGIN [RUNS] [PODS]`, as root: PLUGIN is the weft-cni binary (built with `--release`); the reference
//! plugins are taken from /usr/lib/cni. Each run measures all of them, in an order that rotates, so that whatever else
//! the machine does falls on all alike. The reference plugins get IPv4 only and no masquerading, which is less work
//! than Weft does: Weft gives both families.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use weft_ipam::{NodeBlock, NodeConfig, NodePodAddresses, Store};

/// A plugin with its configuration.
struct Plugin {
    name: &'static str,
    binary: String,
    config: Value,
}

/// Samples by plugin, then by what was measured; one value for each run.
type Samples = BTreeMap<&'static str, BTreeMap<&'static str, Vec<f64>>>;

fn main() {
    let mut args = std::env::args().skip(1);
    let binary = args.next().unwrap_or_else(|| {
        eprintln!("usage: bench PLUGIN [RUNS] [PODS]");
        std::process::exit(2)
    });
    let runs: usize = args.next().map_or(5, |text| text.parse().unwrap());
    let pods: usize = args.next().map_or(100, |text| text.parse().unwrap());
    make_node();
    let pods: Vec<String> = (0..pods).map(|i| format!("wc-bench-{i}")).collect();
    for pod in &pods {
        run("ip", &["netns", "add", pod]);
    }
    let plugins = plugins(binary);
    let mut samples = Samples::new();
    for turn in 0..runs {
        for i in 0..plugins.len() {
            let plugin = &plugins[(turn + i) % plugins.len()];
            measure(plugin, &pods, samples.entry(plugin.name).or_default());
        }
    }
    println!("{:#}", report(&samples, runs, pods.len()));
}

fn plugins(weft: String) -> Vec<Plugin> {
    let ipam = |subnet: &str| {
        json!({
            "type": "host-local", "dataDir": "/var/lib/cni/networks",
            "ranges": [[{"subnet": subnet}]], "routes": [{"dst": "0.0.0.0/0"}],
        })
    };
    let config = |name: &str, more: Value| {
        let mut config = json!({"cniVersion": "1.0.0", "name": name, "type": name});
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        config
    };
    let reference = |name: &'static str, more: Value| Plugin {
        name,
        binary: format!("/usr/lib/cni/{name}"),
        config: config(name, more),
    };
    vec![
        Plugin {
            name: "weft",
            binary: weft,
            config: config("weft", json!({})),
        },
        reference(
            "bridge",
            json!({"bridge": "wcbr0", "isGateway": true, "ipam": ipam("10.7.0.0/22")}),
        ),
        reference("ptp", json!({"ipam": ipam("10.8.0.0/22")})),
    ]
}

/// One run of one plugin. Times in milliseconds, rates in pods per second.
fn measure(plugin: &Plugin, pods: &[String], into: &mut BTreeMap<&'static str, Vec<f64>>) {
    let mut note = |what, value| into.entry(what).or_default().push(value);
    for (command, p50, p99) in [
        ("ADD", "add_alone_p50_ms", "add_alone_p99_ms"),
        ("DEL", "del_alone_p50_ms", "del_alone_p99_ms"),
    ] {
        let times: Vec<f64> = pods.iter().map(|pod| call(plugin, command, pod)).collect();
        note(p50, percentile(&times, 50));
        note(p99, percentile(&times, 99));
    }
    for (command, rate, p50, p99) in [
        (
            "ADD",
            "add_at_once_per_s",
            "add_at_once_p50_ms",
            "add_at_once_p99_ms",
        ),
        (
            "DEL",
            "del_at_once_per_s",
            "del_at_once_p50_ms",
            "del_at_once_p99_ms",
        ),
    ] {
        let start = Instant::now();
        let times: Vec<f64> = std::thread::scope(|scope| {
            let calls: Vec<_> = pods
                .iter()
                .map(|pod| scope.spawn(move || call(plugin, command, pod)))
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        note(rate, pods.len() as f64 / start.elapsed().as_secs_f64());
        note(p50, percentile(&times, 50));
        note(p99, percentile(&times, 99));
    }
}

/// Runs the plugin as a runtime does; gives the milliseconds until it has ended.
fn call(plugin: &Plugin, command: &str, pod: &str) -> f64 {
    let input = plugin.config.to_string();
    let start = Instant::now();
    let mut child = Command::new(&plugin.binary)
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", pod)
        .env("CNI_NETNS", format!("/run/netns/{pod}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", "/usr/lib/cni")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let elapsed = start.elapsed();
    assert!(
        output.status.success(),
        "{} {command}: {}",
        plugin.name,
        String::from_utf8_lossy(&output.stdout)
    );
    elapsed.as_secs_f64() * 1000.0
}

fn report(samples: &Samples, runs: usize, pods: usize) -> Value {
    let mut plugins = json!({});
    for (plugin, measured) in samples {
        for (what, values) in measured {
            plugins[plugin][what] = json!({
                "median": round(percentile(values, 50)),
                "least": round(percentile(values, 0)),
                "most": round(percentile(values, 100)),
            });
        }
    }
    let mut ratios = json!({});
    for other in ["bridge", "ptp"] {
        for (what, values) in &samples["weft"] {
            let (ours, theirs) = (
                percentile(values, 50),
                percentile(&samples[other][what], 50),
            );
            // Above 1: Weft is that many times better.
            let ratio = if what.ends_with("per_s") {
                ours / theirs
            } else {
                theirs / ours
            };
            ratios[format!("{what}_vs_{other}")] = round(ratio).into();
        }
    }
    json!({"runs": runs, "pods": pods, "plugins": plugins, "times_better": ratios})
}

/// The value below which `percent` of 100 lie, by the nearest rank.
fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// A node of its own: network, mounts and store go with this process.
fn make_node() {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    std::fs::create_dir_all("/run/netns").unwrap();
    for place in ["/var/lib", "/run/netns"] {
        mount(none, place, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    }
    mount(none, "/run/netns", none, MsFlags::MS_PRIVATE, none).unwrap();
    run("ip", &["link", "set", "lo", "up"]);
    for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        std::fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap();
    }
    let block = |cidr: &str| NodeBlock {
        cidr: cidr.parse().unwrap(),
        allocatable: true,
    };
    let config = NodeConfig {
        blocks: [
            "10.9.0.0/26",
            "10.9.0.64/26",
            "10.9.0.128/26",
            "fd09::/122",
            "fd09::40/122",
            "fd09::80/122",
        ]
        .map(block)
        .to_vec(),
        node_pod_addresses: NodePodAddresses {
            ipv4: Some("10.9.0.1".parse().unwrap()),
            ipv6: Some("fd09::1".parse().unwrap()),
        },
        mtu: 1450,
        link_mtu: 1450,
    };
    run("ip", &["address", "add", "10.9.0.1/32", "dev", "lo"]);
    run(
        "ip",
        &["address", "add", "fd09::1/128", "dev", "lo", "nodad"],
    );
    let store = Store::create(weft_cni::STATE_DIR).unwrap();
    store.lock().unwrap().write_node(&config).unwrap();
}

fn run(program: &str, args: &[&str]) {
    assert!(
        Command::new(program).args(args).status().unwrap().success(),
        "{program} {args:?}"
    );
}
