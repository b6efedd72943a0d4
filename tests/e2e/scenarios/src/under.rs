//! Doing something under traffic, and judging what the traffic saw.

use std::net::{IpAddr, SocketAddr};

use anyhow::bail;
use serde_json::{Value, json};
use weft_load::report::{Counts, FlowReport, Report};
use weft_scenarios::stage::Stage;
use weft_scenarios::traffic::{self, Traffic, Volume};

use crate::hops;

/// Does `deed` under traffic of every kind, of which nothing may be lost. Gives what `deed` gives, and
/// how many units were sent.
///
/// # Errors
/// `deed` failed, or the traffic suffered.
pub async fn lossless<T>(
    stage: &Stage,
    deed: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, u64)> {
    let (done, reports) = watched(stage, &[], deed).await?;
    traffic::assert_lossless(&reports)?;
    Ok((done, sent(&reports)))
}

/// The same while modes change: under traffic that works in every mode.
///
/// # Errors
/// `deed` failed, or the traffic suffered.
pub async fn lossless_between_modes<T>(
    stage: &Stage,
    deed: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, u64)> {
    let (done, reports) = under(stage, Volume::MODERATE.in_every_mode(), &[], deed).await?;
    traffic::assert_lossless(&reports)?;
    Ok((done, sent(&reports)))
}

/// Does `deed` under traffic, and gives what the clients say that are not on one of the nodes `dead`.
///
/// # Errors
/// `deed` failed, or a client did.
pub async fn watched<T>(
    stage: &Stage,
    dead: &[&str],
    deed: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Vec<Report>)> {
    under(stage, Volume::MODERATE, dead, deed).await
}

/// Does `deed` under so much traffic.
///
/// # Errors
/// `deed` failed, or a client did.
pub async fn under<T>(
    stage: &Stage,
    volume: Volume,
    dead: &[&str],
    deed: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Vec<Report>)> {
    let before = hops::read(stage).await;
    let traffic = Traffic::start(stage, volume).await?;
    let done = deed().await;
    // Also after a failure, so that no client stays behind.
    let reports = traffic.stop(dead).await;
    let (done, reports) = (done?, reports?);
    if !traffic::faults(&reports).is_empty() {
        println!("counters that grew meanwhile, by hop:");
        for line in hops::grown(&before, &hops::read(stage).await) {
            println!("  {line}");
        }
    }
    Ok((done, reports))
}

/// Checks that flows between pods and from hosts to pods lost nothing, except those to one of
/// `addresses`. Those by way of a Service are left out: it may have led to what was taken away.
///
/// # Errors
/// Some lost something; each is named. Or there is no such flow at all.
pub fn assert_others_lossless(reports: &[Report], addresses: &[IpAddr]) -> anyhow::Result<u64> {
    let direct = |flow: &&FlowReport| {
        let to_pod = flow.group.starts_with("pod to pod") || flow.group == "host to pod";
        to_pod
            && flow
                .target
                .parse::<SocketAddr>()
                .is_ok_and(|target| !addresses.contains(&target.ip()))
    };
    let (mut faults, mut sent) = (Vec::new(), 0);
    for report in reports {
        for flow in report.flows.iter().filter(direct) {
            sent += flow.counts.sent;
            let found = flow.counts.faults();
            if !found.is_empty() {
                let (name, causes) = (&flow.name, flow.causes.first());
                faults.push(format!(
                    "{}/{name}: {}; {causes:?}",
                    report.name,
                    found.join(", ")
                ));
            }
        }
    }
    if !faults.is_empty() {
        println!("{}", traffic::table(reports));
        bail!("traffic of the others suffered:\n{}", faults.join("\n"));
    }
    if sent == 0 {
        bail!("there was no traffic between the others");
    }
    Ok(sent)
}

/// How many units were sent.
pub fn sent(reports: &[Report]) -> u64 {
    let flows = reports.iter().flat_map(|report| &report.flows);
    flows.map(|flow| flow.counts.sent).sum()
}

/// The delays of datagrams between pods: the worst of all flows, in microseconds.
pub fn delays(reports: &[Report]) -> Value {
    let flows = reports.iter().flat_map(|report| &report.flows);
    let between_pods = flows.filter(|flow| flow.group == "pod to pod, UDP");
    let mut all = Counts::default();
    between_pods.for_each(|flow| all.add(&flow.counts));
    json!({"p99.9_us": all.rtt_p999_us, "longest_gap_us": all.longest_gap_us})
}
