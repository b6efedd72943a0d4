//! Programming the paths to many peers from nothing, beside `ip -batch` and `bridge -batch` of the
//! same state, and the change of one peer's, by the example `program_peers` of the kernel crate.

use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;
use weft_e2e::tools;

use crate::progress;
use crate::report::{Aim, Row, Section, Sense};

/// Peers of a large cluster.
const MANY: usize = 5000;
/// Peers of a small one.
const FEW: usize = 50;

/// Measures with many and with few peers in turn.
pub async fn run(rounds: usize) -> anyhow::Result<Section> {
    let mut weft = Vec::new();
    let mut batch = Vec::new();
    let (mut change_many, mut change_few) = (Vec::new(), Vec::new());
    let (mut flip, mut flip_batch) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        progress(&format!("program: round {} of {rounds}", round + 1));
        let many = once(MANY).await?;
        let few = once(FEW).await?;
        weft.push(number(&many, "weft_ms")?);
        batch.push(number(&many, "ip_batch_ms")?);
        change_many.push(number(&many, "one_peer_change_ms")?);
        flip.push(number(&many, "flip_ms")?);
        flip_batch.push(number(&many, "flip_batch_ms")?);
        change_few.push(number(&few, "one_peer_change_ms")?);
    }
    let all = Row::new("5000 peers:ip -batch", "ms", Sense::Less, &weft, &batch);
    let one = Row::new(
        "one of 5000 < of 50",
        "ms",
        Sense::Growth,
        &change_many,
        &change_few,
    );
    let moved = Row::new("all move:ip -batch", "ms", Sense::Less, &flip, &flip_batch);
    Ok(Section {
        title: "Programming the kernel: from nothing, one peer's change, and moving all".into(),
        rows: vec![
            all.aim(Aim::AtLeast(1.0)),
            one.aim(Aim::AtMost(1.5)),
            moved.aim(Aim::AtLeast(1.0)),
        ],
    })
}

async fn once(peers: usize) -> anyhow::Result<Value> {
    let program = tools::weft_binaries()?.join("examples/program_peers");
    let output = tokio::process::Command::new(&program)
        .args([&peers.to_string(), "1"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {}: run `make binaries`", program.display()))?;
    ensure!(output.status.success(), "{} failed", program.display());
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn number(report: &Value, what: &str) -> anyhow::Result<f64> {
    let value = report[what][0].as_f64();
    value.with_context(|| format!("program_peers did not give {what}: {report}"))
}
