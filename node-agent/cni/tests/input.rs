//! Whatever comes on standard input and in the environment, the plugin answers by the specification.

#![allow(clippy::unwrap_used)]

mod common;

use common::Node;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use weft_cni::{Environment, run};

fn any_text() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        Just(None),
        Just(Some("eth0".to_owned())),
        Just(Some("/run/netns/wc-none".to_owned())),
        any::<String>().prop_map(Some),
    ]
}

fn any_command() -> impl Strategy<Value = String> {
    prop_oneof!["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", ".{0,8}"]
}

/// JSON of any shape under the names that matter.
fn any_input() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop_oneof!["1.1.0", "0.4.0", "weft", "tcp", ".{0,9}"].prop_map(Value::from),
    ];
    let name = prop_oneof![
        "cniVersion",
        "name",
        "type",
        "runtimeConfig",
        "portMappings",
        "prevResult",
        "ips",
        "interfaces",
        "cni\\.dev/valid-attachments",
        "hostPort",
        "protocol",
        ".{0,4}"
    ];
    let value = leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let valid_head = |mut value: Value| {
        if value.is_object() {
            value["cniVersion"] = json!("1.1.0");
            value["name"] = json!("weft");
        }
        value.to_string().into_bytes()
    };
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        value
            .clone()
            .prop_map(|value| value.to_string().into_bytes()),
        value.prop_map(valid_head),
    ]
}

#[test]
fn every_answer_is_one_of_the_specification() {
    let node = Node::new();
    let mut runner = TestRunner::new(Config::with_cases(1500));
    let inputs = (
        any_command(),
        any_text(),
        any_text(),
        any_text(),
        any_text(),
        any_input(),
    );
    let outcome = runner.run(
        &inputs,
        |(command, container_id, netns, ifname, args, input)| {
            let environment = Environment {
                command: Some(command),
                container_id,
                netns,
                ifname,
                args,
            };
            let answer = run(&environment, &input);
            if answer.ok {
                let silent = answer.output.is_empty();
                prop_assert!(silent || serde_json::from_str::<Value>(&answer.output).is_ok());
            } else {
                let error: Value = serde_json::from_str(&answer.output).unwrap();
                prop_assert!(
                    matches!(error["code"].as_u64(), Some(1..=11 | 50 | 100..=102)),
                    "{}",
                    error
                );
                prop_assert!(error["msg"].as_str().is_some_and(|text| !text.is_empty()));
                prop_assert!(error["cniVersion"].is_string());
            }
            Ok(())
        },
    );
    outcome.unwrap();
    assert_eq!(node.residue(), [""; 0]);
}
