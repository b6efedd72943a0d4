//! The chart, rendered by Helm: what it installs may do no more than it has to.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::{Value, json};
use weft_operator::plan::agent_manifest::{self, AgentSettings, CAPABILITIES};
use weft_operator::uninstall::manifest as cleanup;

fn chart() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/weft")
}

fn helm(args: &[&str]) -> Output {
    Command::new(weft_e2e::tools::built("helm").unwrap())
        .args(args)
        .output()
        .unwrap()
}

fn template(values: &[&str]) -> Result<Vec<Value>, String> {
    let chart = chart();
    let mut args = vec![
        "template",
        "weft",
        chart.to_str().unwrap(),
        "--namespace=weft-system",
        "--kube-version=1.36.0",
    ];
    args.extend(values);
    let output = helm(&args);
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(serde_yaml::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect())
}

/// The pods of all workloads: those of the chart, and those that the operator makes.
fn pods() -> BTreeMap<String, Value> {
    let settings = AgentSettings {
        namespace: "weft-system".into(),
        image: "example.org/weft:1".into(),
        pull_policy: "IfNotPresent".into(),
        ..AgentSettings::default()
    };
    let made = [
        serde_json::to_value(agent_manifest::render(&settings, &Default::default())).unwrap(),
        serde_json::to_value(cleanup::render(&settings)).unwrap(),
    ];
    template(&[])
        .unwrap()
        .into_iter()
        .chain(made)
        .filter_map(|object| {
            let name = object["metadata"]["name"].as_str()?.to_string();
            let pod = object["spec"]["template"]["spec"].clone();
            (!pod.is_null()).then_some((name, pod))
        })
        .collect()
}

fn containers(pod: &Value) -> Vec<Value> {
    let of = |field: &str| pod[field].as_array().cloned().unwrap_or_default();
    [of("initContainers"), of("containers")].concat()
}

#[test]
fn helm_finds_nothing_wrong() {
    let output = helm(&["lint", "--strict", chart().to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(
        !text.contains("[WARNING]") && !text.contains("[ERROR]"),
        "{text}"
    );
}

#[test]
fn definitions_of_the_chart_are_those_of_the_types() {
    let directory = chart().join("files/crds");
    let here: BTreeMap<String, String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect();
    let types: BTreeMap<String, String> = weft_crds::manifests().unwrap().into_iter().collect();
    assert!(
        here == types,
        "charts/weft/files/crds is stale: run `cargo run -p weft-crds --bin crdgen -- charts/weft/files/crds`"
    );
    let rendered = template(&[]).unwrap();
    let definitions = rendered
        .iter()
        .filter(|o| o["kind"] == "CustomResourceDefinition");
    assert_eq!(definitions.count(), types.len());
}

#[test]
fn no_pod_may_do_more_than_it_has_to() {
    let pods = pods();
    let names: Vec<&str> = pods.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "weft-agent",
            "weft-cleanup",
            "weft-operator",
            "weft-uninstall"
        ]
    );
    for (name, pod) in &pods {
        for field in ["hostPID", "hostIPC", "shareProcessNamespace"] {
            assert_ne!(pod[field], true, "{name}: {field}");
        }
        for container in containers(pod) {
            let context = &container["securityContext"];
            assert_ne!(context["privileged"], true, "{name}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
            let added = match (name.as_str(), container["name"].as_str().unwrap()) {
                ("weft-agent", "agent") | ("weft-cleanup", "cleanup") => json!(CAPABILITIES),
                _ => Value::Null,
            };
            assert_eq!(context["capabilities"]["add"], added, "{name}");
            let seccomp = [
                &context["seccompProfile"]["type"],
                &pod["securityContext"]["seccompProfile"]["type"],
            ];
            assert!(seccomp.contains(&&json!("RuntimeDefault")), "{name}");
        }
    }
    for name in ["weft-operator", "weft-uninstall"] {
        assert_eq!(
            pods[name]["securityContext"]["runAsNonRoot"], true,
            "{name}"
        );
        assert_eq!(
            pods[name]["volumes"],
            Value::Null,
            "{name} sees nothing of its host"
        );
    }
    assert_eq!(pods["weft-cleanup"]["automountServiceAccountToken"], false);
}

#[test]
fn the_agent_sees_these_directories_of_its_host_and_no_others() {
    let paths = |name: &str| -> Vec<String> {
        let pods = pods();
        let volumes = pods[name]["volumes"].as_array().unwrap().clone();
        let paths = volumes
            .iter()
            .map(|v| v["hostPath"]["path"].as_str().unwrap().to_string());
        paths.collect()
    };
    let common = [
        "/opt/cni/bin",
        "/etc/cni/net.d",
        "/run/netns",
        "/proc/sys/net",
    ];
    for (name, state) in [
        ("weft-agent", "/var/lib/weft"),
        ("weft-cleanup", "/var/lib"),
    ] {
        let mut expected: Vec<&str> = common.to_vec();
        expected.push(state);
        expected.sort_unstable();
        let mut found = paths(name);
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn nobody_gets_everything_and_agents_alone_read_passwords() {
    for role in template(&[]).unwrap() {
        let Some(rules) = role["rules"].as_array() else {
            continue;
        };
        let name = &role["metadata"]["name"];
        for rule in rules {
            let text = rule.to_string();
            assert!(!text.contains('*'), "{name}: {rule}");
            for word in ["secrets", "escalate", "bind", "impersonate", "pods/exec"] {
                // Passwords of BGP peers are in Weft's own namespace, and nowhere else.
                let passwords = word == "secrets"
                    && role["kind"] == "Role"
                    && role["metadata"]["namespace"] != "default"
                    && *name == "weft-agent"
                    && rule["verbs"] == json!(["get", "list", "watch"]);
                assert!(
                    passwords || !text.contains(&format!("\"{word}\"")),
                    "{name}: {rule}"
                );
            }
            if rule["resources"] == json!(["networkconfigs", "bgppeers"]) {
                assert_eq!(
                    rule["verbs"],
                    json!(["get", "list", "watch"]),
                    "the spec is the admin's"
                );
            }
        }
    }
}

#[test]
fn values_reach_what_they_are_for() {
    let rendered = template(&[
        "--set=image.repository=example.org/weft,image.tag=v7,image.pullPolicy=Always",
        "--set=imagePullSecrets={one,two}",
        "--set=operator.replicas=2,metrics.expose=true",
        "--set=apiServer.host=2001:db8::1,uninstall.forceDead=true",
    ])
    .unwrap();
    let deployment = rendered.iter().find(|o| o["kind"] == "Deployment").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "example.org/weft:v7");
    let env = |container: &Value, name: &str| {
        let env = container["env"].as_array().unwrap();
        env.iter().find(|e| e["name"] == name).unwrap()["value"].clone()
    };
    for (name, value) in [
        ("WEFT_AGENT_IMAGE", "example.org/weft:v7"),
        ("WEFT_IMAGE_PULL_POLICY", "Always"),
        ("WEFT_IMAGE_PULL_SECRETS", "one,two"),
        ("WEFT_AGENT_API_SERVER", "[2001:db8::1]:6443"),
        ("KUBERNETES_SERVICE_HOST", "2001:db8::1"),
        ("WEFT_LISTEN", "[::]:9474"),
        ("WEFT_EXPOSE_AGENT_METRICS", "true"),
    ] {
        assert_eq!(env(container, name), value, "{name}");
    }
    let job = rendered.iter().find(|o| o["kind"] == "Job").unwrap();
    assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "pre-delete");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(env(container, "WEFT_UNINSTALL_FORCE_DEAD"), "true");

    let digest = format!("--set=image.digest=sha256:{}", "a".repeat(64));
    let rendered = template(&[&digest]).unwrap();
    let deployment = rendered.iter().find(|o| o["kind"] == "Deployment").unwrap();
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    assert!(
        image
            .as_str()
            .unwrap()
            .starts_with("localhost/weft@sha256:aaa")
    );
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    for (value, part) in [
        ("operator.replicas=0", "replicas"),
        ("operator.replicas=two", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("image.repository=", "repository"),
        ("image.tag=not a tag", "tag"),
        ("image.digest=sha256:12", "digest"),
        ("metrics.expose=maybe", "expose"),
        ("apiServer.port=0", "port"),
        ("uninstall.timeoutSeconds=1", "timeoutSeconds"),
        ("operater.replicas=1", "operater"),
        ("operator.replica=1", "replica"),
    ] {
        let refused = template(&[&format!("--set={value}")]).expect_err(value);
        assert!(refused.contains(part), "{value}: {refused}");
    }
}
