//! Whether something answers, from one place, now.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use weft_e2e::command::Cmd;
use weft_e2e::{netns, tools, wait};
use weft_load::PORT;
use weft_load::plan::{Exchange, Flow, Kind, Plan, Size, Udp};
use weft_load::report::Report;
use weft_scenarios::stage::Stage;

/// The network namespace of a node, or of the outside host.
pub fn namespace_of(stage: &Stage, place: &str) -> anyhow::Result<Vec<String>> {
    let name = match place {
        "outside" => stage.cluster.outside()?.netns,
        node => stage.cluster.node(node)?.endpoint().netns.clone(),
    };
    let path = netns::path(&name);
    Ok([
        "nsenter".into(),
        format!("--net={}", path.display()),
        "--".into(),
    ]
    .into())
}

/// One connection after the other to `target`, a tenth of a second apart.
pub fn tcp(target: SocketAddr) -> Flow {
    let kind = Kind::Connect(Exchange {
        timeout_ms: 1_000,
        ..Exchange::default()
    });
    flow(format!("tcp {target}"), target, kind)
}

/// Numbered datagrams to `target`.
pub fn udp(target: SocketAddr) -> Flow {
    let kind = Kind::Udp(Udp {
        rate: 50,
        size: Size::Bytes(200),
        df: false,
    });
    flow(format!("udp {target}"), target, kind)
}

fn flow(name: String, target: SocketAddr, kind: Kind) -> Flow {
    Flow {
        name,
        group: None,
        target,
        source: None,
        device: None,
        kind,
    }
}

/// Checks for a second that the flows of `flows` work from `place` and lose nothing.
///
/// # Errors
/// One does; each is named.
pub async fn works(stage: &Stage, place: &str, flows: Vec<Flow>) -> anyhow::Result<()> {
    let report = run(stage, place, flows).await?;
    let faults = report.faults();
    if !faults.is_empty() {
        bail!("from {place}: {}", faults.join("; "));
    }
    Ok(())
}

/// Checks that TCP and UDP servers at `addresses` answer from `place`.
///
/// # Errors
/// One does not; it is named.
pub async fn pods(stage: &Stage, place: &str, addresses: &[IpAddr]) -> anyhow::Result<()> {
    let targets = addresses.iter().map(|ip| SocketAddr::new(*ip, PORT));
    works(
        stage,
        place,
        targets.flat_map(|t| [tcp(t), udp(t)]).collect(),
    )
    .await
}

/// Waits until they do.
///
/// # Errors
/// They do not within `limit`.
pub async fn pods_within(
    stage: &Stage,
    place: &str,
    addresses: &[IpAddr],
    limit: Duration,
) -> anyhow::Result<()> {
    let what = format!("{addresses:?} to answer from {place}");
    wait::until(what, limit, async || {
        pods(stage, place, addresses)
            .await
            .map_err(|error| format!("{error:#}"))
    })
    .await?;
    Ok(())
}

async fn run(stage: &Stage, place: &str, flows: Vec<Flow>) -> anyhow::Result<Report> {
    let plan = Plan {
        name: place.to_owned(),
        start_timeout_ms: 2_000,
        drain_ms: 1_000,
        tick_us: 2_000,
        flows,
    };
    let path = stage.cluster.dir().file(&format!("reach-{place}.json"));
    std::fs::write(&path, serde_json::to_string(&plan)?)?;
    let enter = namespace_of(stage, place)?;
    let load = tools::weft_binaries()?.join("weft-load");
    let command = Cmd::new(&enter[0])
        .args(&enter[1..])
        .args([
            &*load.to_string_lossy(),
            "run",
            "--quiet",
            "--duration",
            "1",
            "--plan",
        ])
        .args([&path])
        .timeout(Duration::from_secs(30));
    let output = command.run().await;
    let _ = std::fs::remove_file(&path);
    let text = output?.stdout;
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("no report from {place} but {last:?}"))
}
