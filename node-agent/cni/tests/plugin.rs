//! The plugin as the runtime runs it, against the real kernel.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use common::{Node, Pod, addresses, connects, ip, listen, run};
use rstest::rstest;
use serde_json::{Value, json};
use weft_cni::STATE_DIR;
use weft_cni::sweep::sweep;

#[rstest]
#[case("0.3.1")]
#[case("0.4.0")]
#[case("1.0.0")]
#[case("1.1.0")]
fn a_pod_lives_and_goes(#[case] version: &str) {
    let node = Node::new();
    let (a, b) = (Pod::new(), Pod::new());
    let call = |pod: &Pod, command: &str| pod.call(command).with("cniVersion", json!(version));
    let result = call(&a, "ADD").run().unwrap();
    assert_eq!(result["cniVersion"], version);
    let (of_a, of_b) = (
        addresses(&result),
        addresses(&call(&b, "ADD").run().unwrap()),
    );
    assert_eq!(
        of_a,
        [
            "10.9.0.2".parse::<IpAddr>().unwrap(),
            "fd09::2".parse().unwrap()
        ]
    );
    for address in &of_a {
        let port = listen(&a, *address, 0);
        assert!(connects((*address, port)), "node to pod {address}");
    }
    for address in &of_b {
        let port = listen(&b, *address, 0);
        assert!(a.run(|| connects((*address, port))), "pod to pod {address}");
    }
    call(&a, "CHECK")
        .with("prevResult", result.clone())
        .run()
        .unwrap();
    let repeated = call(&a, "ADD").run().unwrap();
    assert_eq!(repeated, result, "a repeated ADD gives the same");
    for pod in [&a, &b, &a] {
        assert_eq!(call(pod, "DEL").run().unwrap(), Value::Null);
    }
    assert_eq!(node.residue(), [""; 0]);
}

#[test]
fn check_names_what_deviates() {
    let _node = Node::new();
    let pod = Pod::new();
    let check = |result: &Value| pod.call("CHECK").with("prevResult", result.clone()).run();
    let unknown = json!({"cniVersion": "1.1.0", "interfaces": [], "ips": []});
    assert_eq!(check(&unknown).unwrap_err().0, 3);
    assert_eq!(pod.call("CHECK").run().unwrap_err().0, 7);
    let result = pod.call("ADD").run().unwrap();
    let mut other = result.clone();
    other["ips"][0]["address"] = json!("10.9.0.77/32");
    assert!(check(&other).unwrap_err().1.contains("10.9.0.2/32"));
    pod.ip("link set eth0 mtu 1400");
    let (code, text) = check(&result).unwrap_err();
    assert_eq!(code, 102);
    assert!(
        text.contains("MTU 1400") && text.contains(&format!("ns/{}", pod.id)),
        "{text}"
    );
}

#[test]
fn del_succeeds_whatever_is_gone_already() {
    let node = Node::new();
    let pod = Pod::new();
    pod.call("ADD").run().unwrap();
    ip(&format!("netns del {}", pod.id));
    pod.call("DEL").run().unwrap();
    let mut never = pod.call("DEL");
    (never.id, never.netns) = ("never-added".into(), String::new());
    never.run().unwrap();
    assert_eq!(node.residue(), [""; 0]);
    // Weft was uninstalled while pods still run.
    let pod = Pod::new();
    pod.call("ADD").run().unwrap();
    std::fs::remove_dir_all(STATE_DIR).unwrap();
    pod.call("DEL").run().unwrap();
    assert_eq!(ip("-o link show type veth"), "");
    assert!(
        !std::path::Path::new(STATE_DIR).exists(),
        "DEL makes no new store"
    );
}

#[test]
fn an_interface_of_another_plugin_is_left_alone() {
    let node = Node::new();
    let pod = Pod::new();
    pod.ip("link add eth0 type veth peer name other");
    let (code, text) = pod.call("ADD").run().unwrap_err();
    assert_eq!(code, 101);
    assert!(text.contains("eth0"), "{text}");
    assert!(pod.ip("-o link").contains("eth0"));
    assert_eq!(node.residue(), [""; 0]);
}

#[test]
fn gc_removes_what_is_not_valid_and_only_of_its_network() {
    let node = Node::new();
    let (kept, stale, other) = (Pod::new(), Pod::new(), Pod::new());
    kept.call("ADD").run().unwrap();
    stale.call("ADD").run().unwrap();
    other
        .call("ADD")
        .with("name", json!("another"))
        .run()
        .unwrap();
    // A link that the store knows nothing of: its journal was lost.
    ip("link add weft0123456789a type veth peer name x0");
    let valid = json!([{"containerID": kept.id, "ifname": "eth0"}]);
    kept.call("GC")
        .with("cni.dev/valid-attachments", valid)
        .run()
        .unwrap();
    let left: BTreeSet<String> = node
        .store
        .attachments()
        .unwrap()
        .into_iter()
        .map(|a| a.id.container_id)
        .collect();
    assert_eq!(left, BTreeSet::from([kept.id.clone(), other.id.clone()]));
    let links = ip("-o link show type veth");
    assert_eq!(links.lines().count(), 2, "{links}");
    assert_eq!(kept.call("GC").run().unwrap_err().0, 7);
}

#[test]
fn a_sweep_ends_what_never_got_its_del() {
    let node = Node::new();
    let (alive, gone) = (Pod::new(), Pod::new());
    alive.call("ADD").run().unwrap();
    gone.call("ADD").run().unwrap();
    ip(&format!("netns del {}", gone.id));
    // The kernel takes a namespace apart in its own time.
    while ip("-o link show type veth").lines().count() > 1 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        sweep(&node.store, Duration::from_secs(3600))
            .unwrap()
            .is_empty()
    );
    std::thread::sleep(Duration::from_millis(1100));
    let swept = sweep(&node.store, Duration::ZERO).unwrap();
    assert_eq!(swept.len(), 1);
    assert_eq!(swept[0].id.container_id, gone.id);
    assert!(sweep(&node.store, Duration::ZERO).unwrap().is_empty());
    assert_eq!(node.store.attachments().unwrap().len(), 1);
}

#[test]
fn status_and_version() {
    let _node = Node::new();
    let pod = Pod::new();
    pod.call("STATUS").run().unwrap();
    let versions = pod.call("VERSION").run().unwrap();
    assert!(
        versions["supportedVersions"]
            .as_array()
            .unwrap()
            .contains(&json!("1.1.0"))
    );
    std::fs::remove_file(format!("{STATE_DIR}/node.json")).unwrap();
    let (code, text) = pod.call("STATUS").run().unwrap_err();
    assert_eq!(code, 50);
    assert!(text.contains("weft-agent"), "{text}");
    assert_eq!(pod.call("ADD").run().unwrap_err().0, 11);
}

#[test]
fn bad_calls_have_the_codes_of_the_specification() {
    let node = Node::new();
    let pod = Pod::new();
    let code = |change: &dyn Fn(&mut common::Call)| {
        let mut call = pod.call("ADD");
        change(&mut call);
        call.run().unwrap_err().0
    };
    assert_eq!(code(&|call| call.id = "../../x".into()), 4);
    assert_eq!(code(&|call| call.ifname = "a/b".into()), 4);
    assert_eq!(code(&|call| call.netns = "relative".into()), 4);
    assert_eq!(code(&|call| call.netns = "/proc/self/ns/net".into()), 4);
    assert_eq!(code(&|call| call.netns = "/run/netns/wc-none".into()), 3);
    assert_eq!(code(&|call| call.command = "EXPLODE".into()), 4);
    assert_eq!(code(&|call| call.config = json!([1, 2])), 6);
    assert_eq!(code(&|call| call.config["cniVersion"] = json!("3.0.0")), 1);
    assert_eq!(code(&|call| call.config["name"] = json!("/x")), 7);
    // What a configuration names as its plugin leads nowhere.
    let odd = pod.call("ADD").with("type", json!("../../../bin/sh"));
    odd.run().unwrap();
    pod.call("DEL").run().unwrap();
    assert_eq!(node.residue(), [""; 0]);
    let nothing = Command::new(common::PLUGIN).env_clear().output().unwrap();
    assert!(!nothing.status.success() && nothing.stdout.is_empty());
}

#[test]
fn a_hundred_pods_at_once_get_different_addresses() {
    let node = Node::new();
    let pods: Vec<Pod> = (0..100).map(|_| Pod::new()).collect();
    let together = |command: &str| -> Vec<Value> {
        std::thread::scope(|scope| {
            let calls = pods
                .iter()
                .map(|pod| scope.spawn(|| pod.call(command).run().unwrap()));
            let calls: Vec<_> = calls.collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        })
    };
    let given: BTreeSet<IpAddr> = together("ADD").iter().flat_map(addresses).collect();
    assert_eq!(given.len(), 200);
    together("DEL");
    assert_eq!(node.residue(), [""; 0]);
}

#[test]
fn host_ports_lead_to_the_pod_until_it_goes() {
    let node = Node::new();
    let (a, b) = (Pod::new(), Pod::new());
    let port = |port: u16| json!({"portMappings": [{"hostPort": port, "containerPort": 8080, "protocol": "tcp"}]});
    let result = a
        .call("ADD")
        .with("runtimeConfig", port(8081))
        .run()
        .unwrap();
    for (inside, node_address) in addresses(&result).into_iter().zip(["10.9.0.1", "fd09::1"]) {
        listen(&a, inside, 8080);
        let to: IpAddr = node_address.parse().unwrap();
        assert!(connects((to, 8081)), "{to}");
    }
    // What the agent adds to the table that the plugin made.
    run("nft", &["add element inet weft pools4 { 10.9.0.0/16 }"]);
    listen(&a, addresses(&result)[0], 8080);
    assert!(connects(([127, 0, 0, 1], 8081)), "by the loopback address");
    let (code, text) = b
        .call("ADD")
        .with("runtimeConfig", port(8081))
        .run()
        .unwrap_err();
    assert_eq!(code, 101);
    assert!(text.contains(&format!("ns/{}", a.id)), "{text}");
    b.call("ADD")
        .with("runtimeConfig", port(8082))
        .run()
        .unwrap();
    a.call("CHECK")
        .with("runtimeConfig", port(8081))
        .with("prevResult", result)
        .run()
        .unwrap();
    for pod in [&a, &b] {
        pod.call("DEL").run().unwrap();
    }
    assert_eq!(node.residue(), [""; 0]);
}
