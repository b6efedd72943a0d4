//! The program itself, against an API server that knows a handful of answers: exit codes, and what is
//! said when there is no answer.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
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
        while !line.trim().is_empty() {
            line.clear();
            reader.read_line(&mut line).ok()?;
        }
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
