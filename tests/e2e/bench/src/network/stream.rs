//! One TCP stream by iperf3.

use std::net::IpAddr;

use anyhow::Context;
use serde_json::Value;
use tokio::process::Child;

use crate::place::{Place, processors};

/// Starts a server that goes on until it is dropped.
pub fn serve(place: &Place) -> anyhow::Result<Child> {
    place.start("iperf3", &["--server"])
}

/// What arrived in Gbit/s, from here to there, or in reverse.
pub async fn measure(
    place: &Place,
    to: IpAddr,
    seconds: u32,
    reverse: bool,
) -> anyhow::Result<f64> {
    let (to, seconds) = (to.to_string(), seconds.to_string());
    let mut arguments = vec!["--client", &to, "--time", &seconds, "--json"];
    arguments.extend(["--connect-timeout", "3000"]);
    if processors() > 1 {
        arguments.extend(["--affinity", "0,1"]);
    }
    if reverse {
        arguments.push("--reverse");
    }
    let text = place.run("iperf3", &arguments).await?;
    let report: Value = serde_json::from_str(&text)?;
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(rate.context("iperf3 gave no rate")? / 1e9)
}
