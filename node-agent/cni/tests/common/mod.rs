//! A node for the plugin: network and mount namespaces of the calling thread, with an address store and a root of its
//! own below /var/lib. Everything goes with the thread.

#![allow(dead_code, clippy::unwrap_used)]

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};
use weft_cni::STATE_DIR;
use weft_ipam::{NodeBlock, NodeConfig, NodePodAddresses, Store};
use weft_kernel::testing::bound;

pub const PLUGIN: &str = env!("CARGO_BIN_EXE_weft-cni");

pub struct Node {
    pub store: Store,
}

impl Node {
    /// Makes the calling thread (and what it starts) a node.
    pub fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(none, "/var/lib", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        mount(none, "/run/netns", Some("tmpfs"), MsFlags::empty(), none).unwrap_or_else(|_| {
            std::fs::create_dir_all("/run/netns").unwrap();
            mount(none, "/run/netns", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        });
        // Otherwise `ip netns` shares what is below it with all.
        mount(none, "/run/netns", none, MsFlags::MS_PRIVATE, none).unwrap();
        ip("link set lo up");
        ip("address add 10.9.0.1/32 dev lo");
        ip("address add fd09::1/128 dev lo nodad");
        for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            std::fs::write(format!("/proc/sys/net/{setting}"), "1").unwrap();
        }
        let store = Store::create(STATE_DIR).unwrap();
        let block = |cidr: &str| NodeBlock {
            cidr: cidr.parse().unwrap(),
            allocatable: true,
        };
        let config = NodeConfig {
            blocks: vec![block("10.9.0.0/24"), block("fd09::/120")],
            node_pod_addresses: NodePodAddresses {
                ipv4: Some("10.9.0.1".parse().unwrap()),
                ipv6: Some("fd09::1".parse().unwrap()),
            },
            mtu: 1450,
            link_mtu: 1450,
        };
        store.lock().unwrap().write_node(&config).unwrap();
        Self { store }
    }

    /// Everything that an attachment could leave behind.
    pub fn residue(&self) -> Vec<String> {
        let mut left = Vec::new();
        let mut note = |what: String| left.extend(what.lines().map(str::to_owned));
        note(ip("-o link show type veth"));
        for family in ["-4", "-6"] {
            note(try_run("ip", &[family, "route", "show", "proto", "87"]).1);
        }
        let nft = run("nft", &["list", "ruleset"]);
        let element = |line: &&str| line.contains(" . ") && !line.contains("comment");
        let of_pods = |line: &&str| line.contains("10.9.0.") || line.contains("fd09::");
        nft.lines()
            .filter(|line| element(line) && of_pods(line))
            .for_each(|line| note(line.to_owned()));
        for attachment in self.store.attachments().unwrap() {
            note(format!("{attachment:?}"));
        }
        for file in self.store.corrupt_files().unwrap() {
            note(file.display().to_string());
        }
        left
    }
}

/// A pod's network namespace.
pub struct Pod {
    pub id: String,
}

impl Pod {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!(
            "wc-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        ip(&format!("netns add {id}"));
        Self { id }
    }

    pub fn netns(&self) -> String {
        format!("/run/netns/{}", self.id)
    }

    pub fn call(&self, command: &str) -> Call {
        Call {
            command: command.into(),
            id: self.id.clone(),
            netns: self.netns(),
            ifname: "eth0".into(),
            config: config("1.1.0"),
        }
    }

    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = std::fs::File::open(self.netns()).unwrap();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside.join().unwrap()
        })
    }

    pub fn ip(&self, args: &str) -> String {
        ip(&format!("-n {} {args}", self.id))
    }
}

pub fn config(version: &str) -> Value {
    json!({"cniVersion": version, "name": "weft", "type": "weft-cni"})
}

/// One run of the plugin.
#[derive(Clone)]
pub struct Call {
    pub command: String,
    pub id: String,
    pub netns: String,
    pub ifname: String,
    pub config: Value,
}

impl Call {
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    pub fn process(&self) -> Command {
        let mut process = Command::new(PLUGIN);
        process
            .env_clear()
            .env("CNI_COMMAND", &self.command)
            .env("CNI_CONTAINERID", &self.id)
            .env("CNI_NETNS", &self.netns)
            .env("CNI_IFNAME", &self.ifname)
            .env("CNI_PATH", "/none")
            .env(
                "CNI_ARGS",
                format!("K8S_POD_NAMESPACE=ns;K8S_POD_NAME={}", self.id),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        process
    }

    /// The result, or the error's code and the whole error.
    pub fn run(&self) -> Result<Value, (u64, String)> {
        let mut child = self.process().spawn().unwrap();
        let input = self.config.to_string();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let value = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap(),
        };
        if output.status.success() {
            return Ok(value);
        }
        assert_eq!(
            output.status.code(),
            Some(1),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Err((value["code"].as_u64().unwrap(), text))
    }
}

/// The addresses in a result.
pub fn addresses(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().unwrap();
    let address = |ip: &Value| {
        ip["address"]
            .as_str()
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    ips.iter().map(address).collect()
}

/// Accepts one connection in `pod` and closes it; gives the port.
pub fn listen(pod: &Pod, address: IpAddr, port: u16) -> u16 {
    let listener = pod.run(|| bound(|| TcpListener::bind((address, port))));
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.accept());
    port
}

pub fn connects(to: impl Into<SocketAddr>) -> bool {
    TcpStream::connect_timeout(&to.into(), Duration::from_secs(5)).is_ok()
}

pub fn try_run(program: &str, args: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(args).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), text)
}

pub fn run(program: &str, args: &[&str]) -> String {
    let (success, text) = try_run(program, args);
    assert!(success, "{program} {args:?}");
    text
}

pub fn ip(args: &str) -> String {
    run("ip", &args.split(' ').collect::<Vec<_>>())
}
