//! The program itself, against an API server that knows a handful of answers: exit codes, and what is
//! said when there is no answer.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::{Value, json};

/// What is answered by path: a status code and a body.
type Answers = BTreeMap<String, (u16, Value)>;

/// Serves on a port of its own until the process ends, and gives the port.
fn serve(answers: Answers) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = Arc::new(answers);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = answers.clone();
            std::thread::spawn(move || answer(stream, &answers));
        }
    });
    port
}

fn answer(mut stream: TcpStream, answers: &Answers) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
        let mut line = String::from("header");
        let mut length = 0;
        while !line.trim().is_empty() {
            line.clear();
            reader.read_line(&mut line).ok()?;
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
        let target = request.split(' ').nth(1)?;
        let path = target.split('?').next()?;
        let missing = (
            404,
            failure(404, "the server could not find the requested resource"),
        );
        let (code, body) = answers.get(path).unwrap_or(&missing);
        let body = body.to_string();
        write!(
            stream,
            "HTTP/1.1 {code} Whatever\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
    }
}

fn failure(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "x"})
}

fn list(items: &[Value]) -> (u16, Value) {
    (
        200,
        json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}),
    )
}

fn weft(path: &str) -> String {
    format!("/apis/weft.dev/v1alpha1/{path}")
}

/// A node with one block, and a pod for each address.
fn cluster(addresses: &[&str]) -> Answers {
    let pod = |(index, ip): (usize, &&str)| {
        json!({
            "metadata": {"name": format!("pod-{index}"), "namespace": "default"},
            "spec": {"nodeName": "node-1", "containers": []},
            "status": {"phase": "Running", "podIPs": [{"ip": ip}]},
        })
    };
    let pods: Vec<Value> = addresses.iter().enumerate().map(pod).collect();
    let config = json!({
        "metadata": {"name": "default", "generation": 1},
        "spec": {"mode": "Overlay", "pools": [{"cidr": "10.244.0.0/16"}]},
    });
    let block = json!({
        "metadata": {"name": "10-244-0-0-26"},
        "spec": {"cidr": "10.244.0.0/26", "pool": "10.244.0.0/16", "node": "node-1", "nodeUID": "u"},
    });
    let report = json!({
        "metadata": {"name": "node-1"},
        "spec": {
            "nodeUID": "u", "agentVersion": "0.1.0", "forwarding": true, "summary": "0/0",
            "observedGeneration": 1,
            "blocks": [{"cidr": "10.244.0.0/26", "capacity": 61, "used": addresses.len()}],
        },
    });
    [
        (weft("networkconfigs"), list(&[config])),
        (weft("ipblocks"), list(&[block])),
        (weft("nodereports"), list(&[report])),
        (weft("nodenetworks"), list(&[])),
        (weft("bgppeers"), list(&[])),
        (
            "/api/v1/nodes".into(),
            list(&[json!({"metadata": {"name": "node-1", "uid": "u"}})]),
        ),
        ("/api/v1/pods".into(), list(&pods)),
        ("/api/v1/namespaces/weft-system/pods".into(), list(&[])),
        (
            "/apis/apps/v1/namespaces/weft-system/deployments".into(),
            list(&[]),
        ),
    ]
    .into()
}

fn run(port: u16, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("config");
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
    });
    std::fs::write(&kubeconfig, content.to_string()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_kubectl-weft"))
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs, expects exit code 2 and nothing on stdout, and gives what was said.
fn refused(port: u16, arguments: &[&str]) -> String {
    let output = run(port, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(output.stdout, b"");
    said
}

#[test]
fn a_check_that_finds_nothing_exits_with_0_and_one_that_does_with_1() {
    let clean = run(serve(cluster(&["10.244.0.2"])), &["ipam", "check"]);
    assert_eq!(clean.status.code(), Some(0), "{clean:?}");
    let found = run(
        serve(cluster(&["10.244.0.2", "10.244.0.2"])),
        &["ipam", "check", "-o", "json"],
    );
    assert_eq!(found.status.code(), Some(1), "{found:?}");
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(report["findings"][0]["reason"], "AddressConflict");
    assert_eq!(report["clean"], false);
}

#[test]
fn every_command_answers_as_text_and_as_json() {
    let port = serve(cluster(&["10.244.0.2"]));
    for command in [
        &["status"][..],
        &["ipam", "show"],
        &["ipam", "check"],
        &["migrate", "status"],
        &["version"],
    ] {
        let text = run(port, command);
        assert_eq!(text.status.code(), Some(0), "{command:?} {text:?}");
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(
            !text.contains('\x1b'),
            "no colours where there is no terminal: {text:?}"
        );
        let json = run(port, &[command, &["-o", "json"]].concat());
        assert_eq!(json.status.code(), Some(0), "{command:?} {json:?}");
        assert!(
            serde_json::from_slice::<Value>(&json.stdout)
                .unwrap()
                .is_object()
        );
    }
}

#[test]
fn a_cluster_without_weft_is_called_that() {
    let said = refused(serve(Answers::new()), &["status"]);
    assert!(said.contains("Weft is not installed"), "{said}");
}

#[test]
fn a_cluster_without_a_config_is_called_that() {
    let mut answers = cluster(&[]);
    answers.insert(weft("networkconfigs"), list(&[]));
    let said = refused(serve(answers), &["ipam", "check"]);
    assert!(said.contains("no NetworkConfig named default"), "{said}");
}

#[test]
fn who_may_not_is_told_what() {
    let mut answers = cluster(&[]);
    let message = "pods is forbidden: User \"x\" cannot list resource \"pods\"";
    answers.insert("/api/v1/pods".into(), (403, failure(403, message)));
    let said = refused(serve(answers), &["ipam", "check"]);
    assert!(
        said.contains("not allowed to list pods") && said.contains("User \"x\""),
        "{said}"
    );
    let mut answers = cluster(&[]);
    answers.insert(weft("networkconfigs"), (401, failure(401, "Unauthorized")));
    assert!(refused(serve(answers), &["status"]).contains("credentials"));
}

#[test]
fn an_api_server_that_is_silent_or_not_there_is_named() {
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let said = refused(port, &["status", "--request-timeout", "1"]);
    assert!(
        said.contains("no answer") && said.contains(&port.to_string()),
        "{said}"
    );
    drop(silent);
    let said = refused(port, &["status"]);
    assert!(
        said.contains("cannot reach") && said.contains("refused"),
        "{said}"
    );
}

#[test]
fn a_kubeconfig_that_does_not_do_is_explained() {
    let said = refused(1, &["status", "--context", "elsewhere"]);
    assert!(said.contains("no context elsewhere"), "{said}");
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-weft"))
        .args(["status", "--kubeconfig", "/nowhere/config"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("/nowhere/config")
    );
}

#[test]
fn the_version_of_the_program_needs_no_cluster() {
    let output = run(1, &["version", "--client"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(env!("CARGO_PKG_VERSION"))
    );
}

/// The config of the cluster, with this spec and status.
fn config(spec: Value, status: Value) -> Value {
    let mut config = json!({
        "metadata": {"name": "default", "generation": 1, "resourceVersion": "7"},
        "spec": {"mode": "Overlay", "pools": [{"cidr": "10.244.0.0/16"}]},
        "status": status,
    });
    for (field, value) in spec.as_object().unwrap() {
        config["spec"][field] = value.clone();
    }
    config
}

const FILE: &str =
    "apiVersion: weft.dev/v1alpha1\nkind: NetworkConfig\nmetadata: {name: default}\nspec: {}\n";

/// Plans for a file, where the API server answers a dry run so.
fn plan(answered: (u16, Value), arguments: &[&str]) -> Output {
    let mut answers = cluster(&[]);
    answers.insert(weft("networkconfigs/default"), answered);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), FILE).unwrap();
    let command = ["plan", "-f", file.path().to_str().unwrap()];
    run(serve(answers), &[&command, arguments].concat())
}

#[test]
fn a_plan_exits_with_0_if_it_is_possible_and_with_1_if_not() {
    let possible = plan((200, config(json!({"mode": "BGP"}), json!({}))), &[]);
    assert_eq!(possible.status.code(), Some(0), "{possible:?}");
    let spec = json!({"mode": "BGP", "migration": {"canarySelector": {"a": "b"}}});
    let impossible = plan((200, config(spec, json!({}))), &["-o", "json"]);
    assert_eq!(impossible.status.code(), Some(1), "{impossible:?}");
    let report: Value = serde_json::from_slice(&impossible.stdout).unwrap();
    assert_eq!(report["obstacles"][0]["reason"], "NoCanary");
}

#[test]
fn a_plan_that_could_not_be_made_exits_with_2_and_says_why() {
    let said = |output: Output| {
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(output.stdout, b"");
        String::from_utf8(output.stderr).unwrap()
    };
    let message = "spec.pools: Invalid value: \"array\": pools: two pools overlap";
    let invalid = said(plan((422, failure(422, message)), &[]));
    assert!(invalid.contains(message), "{invalid}");
    let forbidden = said(plan((403, failure(403, "User \"x\" cannot update")), &[]));
    assert!(
        forbidden.contains("may update networkconfigs"),
        "{forbidden}"
    );
    let busy = said(plan(
        (409, failure(409, "the object has been modified")),
        &[],
    ));
    assert!(busy.contains("try again"), "{busy}");
    let stale = said(plan(
        (200, config(json!({}), json!({}))),
        &["--generation", "7"],
    ));
    assert!(stale.contains("generation 1 now, not 7"), "{stale}");
    let missing = refused(serve(cluster(&[])), &["plan", "-f", "/nowhere/file"]);
    assert!(
        missing.contains("/nowhere/file: cannot be read"),
        "{missing}"
    );
}

/// Watches a cluster with this spec and status.
fn watched(spec: Value, status: Value, arguments: &[&str]) -> (Option<i32>, String) {
    let mut answers = cluster(&[]);
    answers.insert(weft("networkconfigs"), list(&[config(spec, status)]));
    let output = run(serve(answers), &[&["migrate", "watch"], arguments].concat());
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn watching_ends_when_the_migration_does() {
    let ready = json!({
        "observedGeneration": 1, "mode": "Overlay",
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "AllNodesReady", "message": "",
            "observedGeneration": 1, "lastTransitionTime": "2026-11-24T12:00:00Z",
        }],
    });
    let (code, said) = watched(json!({}), ready.clone(), &[]);
    assert_eq!((code, said.lines().count()), (Some(0), 1), "{said}");
    let mut failed = ready.clone();
    failed["failedMigration"] = json!({"generation": 1, "asked": false, "message": "12 of 600"});
    let (code, said) = watched(json!({"mode": "BGP"}), failed, &["-o", "json"]);
    assert_eq!(code, Some(1), "{said}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["standing"], "Failed");
    let mut under_way = ready;
    under_way["migration"] = json!({"from": "Overlay", "to": "BGP", "phase": "Check"});
    let (code, said) = watched(json!({"mode": "BGP"}), under_way, &["--timeout", "0"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("phase Check"), "{said}");
}

#[test]
fn what_is_said_to_a_migration_exits_with_0_if_it_could_be_done() {
    let mut answers = cluster(&[]);
    answers.insert(
        weft("networkconfigs/default"),
        (200, json!({"metadata": {"name": "default"}})),
    );
    let port = serve(answers);
    let paused = run(port, &["migrate", "pause"]);
    assert_eq!(paused.status.code(), Some(0), "{paused:?}");
    let said = String::from_utf8(paused.stdout).unwrap();
    assert!(said.contains("spec.migration.paused: true"), "{said}");
    let nothing = run(port, &["migrate", "rollback", "-o", "json"]);
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
    let deed: Value = serde_json::from_slice(&nothing.stdout).unwrap();
    assert_eq!(deed["done"], false);
}
