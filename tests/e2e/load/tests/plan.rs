//! Plans that are right are read as meant; plans that are wrong are refused with the flow and the fix.

use rstest::rstest;
use weft_load::plan::{Kind, Plan, Size};

fn read(text: &str) -> Result<Plan, String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("write");
    Plan::read(file.path()).map_err(|error| error.to_string())
}

fn one(flow: &str) -> Result<Plan, String> {
    read(&format!(r#"{{"name": "p", "flows": [{flow}]}}"#))
}

#[test]
fn the_plan_of_the_readme_is_read_and_survives_writing() {
    let readme = include_str!("../README.md");
    let start = readme.find("```json\n{\"name\"").expect("a plan") + "```json\n".len();
    let text = &readme[start..];
    let text = &text[..text.find("```").expect("its end")];
    let plan = read(text).expect("a plan that is right");
    let kinds: Vec<&str> = plan.flows.iter().map(|flow| flow.kind.name()).collect();
    assert_eq!(kinds, ["udp", "udp", "tcp", "connect", "bulk", "dns"]);
    let again = serde_json::to_string(&plan).expect("JSON");
    assert_eq!(read(&again), Ok(plan));
}

#[test]
fn what_is_left_out_has_a_default() {
    let plan = one(r#"{"name": "u", "kind": "udp", "target": "[::1]:1"}"#).expect("a plan");
    assert_eq!((plan.drain_ms, plan.start_timeout_ms), (1_000, 30_000));
    assert_eq!(plan.flows[0].group(), "udp");
    let Kind::Udp(udp) = &plan.flows[0].kind else {
        panic!("{plan:?}");
    };
    assert_eq!((udp.rate, udp.size, udp.df), (100, Size::Bytes(128), false));
}

#[rstest]
#[case(
    r#"{"name": "u", "kind": "udp", "target": "[::1]:1", "rat": 5}"#,
    r#"flow "u": unknown field `rat`"#
)]
#[case(
    r#"{"name": "u", "kind": "tcp", "target": "[::1]:1", "df": true}"#,
    r#"flow "u": unknown field `df`"#
)]
#[case(
    r#"{"name": "u", "kind": "sctp", "target": "[::1]:1"}"#,
    "unknown variant `sctp`"
)]
#[case(
    r#"{"name": "u", "kind": "udp", "target": "localhost:1"}"#,
    "invalid socket address"
)]
#[case(r#"{"kind": "udp", "target": "[::1]:1"}"#, "missing field `name`")]
#[case(
    r#"{"name": "u", "kind": "udp", "target": "[::1]:1", "source": "10.0.0.1"}"#,
    "different families"
)]
#[case(
    r#"{"name": "u", "kind": "udp", "target": "[::1]:1", "rate": 0}"#,
    "rate must be from 1"
)]
#[case(
    r#"{"name": "u", "kind": "udp", "target": "[::1]:1", "size": 51}"#,
    "size must be from 52"
)]
#[case(
    r#"{"name": "u", "kind": "udp", "target": "[::1]:1", "size": 9217}"#,
    "to 9216"
)]
#[case(
    r#"{"name": "u", "kind": "tcp", "target": "[::1]:1", "connections": 0}"#,
    "connections must be greater"
)]
#[case(
    r#"{"name": "u", "kind": "connect", "target": "[::1]:1", "interval_ms": 0}"#,
    "interval_ms must be greater"
)]
#[case(
    r#"{"name": "u", "kind": "bulk", "target": "[::1]:1", "size": 0}"#,
    "size must be greater"
)]
#[case(
    r#"{"name": "u", "kind": "dns", "target": "[::1]:1", "query": "a..b"}"#,
    "label"
)]
#[case(
    r#"{"name": "u", "kind": "dns", "target": "[::1]:1", "records": []}"#,
    "number of records"
)]
#[case(
    r#"{"name": "u", "kind": "tcp", "target": "[::1]:1"}, {"name": "u", "kind": "udp", "target": "[::1]:1"}"#,
    "another flow has this name"
)]
#[case("", "no flows")]
fn what_makes_no_sense_is_refused(#[case] flows: &str, #[case] why: &str) {
    let error = one(flows).expect_err("refused");
    assert!(error.contains(why), "{error}");
}
