//! What the agent says over HTTP: `/livez`, `/readyz` and `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use weft_crds::{BgpState, NodeReportSpec, PeerPath};

use crate::report::{self, Usage};

/// What is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// The node forwards.
    pub ready: bool,
    /// Why not, in words.
    pub why: String,
    peers: i64,
    answering: i64,
    vxlan: i64,
    direct: i64,
    routed: i64,
    sessions: i64,
    established: i64,
    problems: i64,
    used: i64,
    capacity: i64,
    mtu: i64,
    generation: i64,
}

impl Health {
    /// Of a report, the health of all peers, and the exact use of the blocks: a report lists no more
    /// than some peers, and counts coarsely.
    pub fn of(
        report: &NodeReportSpec,
        peers: &BTreeMap<String, report::Health>,
        usage: &[Usage],
    ) -> Self {
        let count = |wanted: PeerPath| {
            let paths = report.peers.iter().flat_map(|peer| [peer.ipv4, peer.ipv6]);
            paths.filter(|path| *path == Some(wanted)).count() as i64
        };
        let why = report
            .problems
            .first()
            .map(|problem| problem.message.clone());
        Self {
            ready: report.forwarding,
            why: why.unwrap_or_else(|| "no peer has answered a probe yet".into()),
            peers: peers.len() as i64,
            answering: peers
                .values()
                .filter(|health| **health == report::Health::Answers)
                .count() as i64,
            vxlan: count(PeerPath::VXLAN),
            direct: count(PeerPath::Direct),
            routed: count(PeerPath::Routed),
            sessions: report.sessions.len() as i64,
            established: report
                .sessions
                .iter()
                .filter(|session| session.state == BgpState::Established)
                .count() as i64,
            problems: report.problems.len() as i64,
            used: usage.iter().map(|block| block.used as i64).sum(),
            capacity: usage.iter().map(|block| block.capacity as i64).sum(),
            mtu: report.mtu.map_or(0, i64::from),
            generation: report.observed_generation.unwrap_or_default(),
        }
    }

    fn metrics(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("weft_agent");
        let mut gauge = |name: &str, help: &str, value: i64| {
            let gauge: Gauge = Gauge::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        };
        gauge("ready", "1 if the node forwards", self.ready.into());
        gauge("peers", "Other nodes", self.peers);
        gauge(
            "peers_answering",
            "Other nodes that answer probes of full size",
            self.answering,
        );
        gauge(
            "problems",
            "Things that are wrong on the node",
            self.problems,
        );
        gauge("addresses_used", "Addresses that pods have", self.used);
        gauge(
            "addresses_capacity",
            "Addresses that pods can have",
            self.capacity,
        );
        gauge("bgp_sessions", "BGP sessions that should be", self.sessions);
        gauge(
            "bgp_sessions_established",
            "BGP sessions that are",
            self.established,
        );
        gauge("mtu_bytes", "MTU of the pods", self.mtu);
        gauge(
            "generation",
            "Generation of the NetworkConfig that is in force",
            self.generation,
        );
        let paths = Family::<Vec<(&'static str, &'static str)>, Gauge>::default();
        for (path, number) in [
            ("vxlan", self.vxlan),
            ("direct", self.direct),
            ("routed", self.routed),
        ] {
            paths.get_or_create(&vec![("path", path)]).set(number);
        }
        registry.register("paths", "Paths in use, by kind", paths);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Serves until the process ends, with the routes of `more`.
///
/// # Errors
/// The address can't be listened on.
pub async fn serve(
    address: SocketAddr,
    health: watch::Receiver<Health>,
    more: Router,
) -> std::io::Result<()> {
    let health = Arc::new(health);
    let (ready, metrics) = (health.clone(), health);
    let routes = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async move || {
                let health = ready.borrow();
                if health.ready {
                    (StatusCode::OK, "ok\n".to_owned())
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", health.why))
                }
            }),
        )
        .route(
            "/metrics",
            get(async move || {
                metrics
                    .borrow()
                    .metrics()
                    .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
            }),
        );
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, routes.merge(more)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_say_what_the_report_says() {
        let report = NodeReportSpec {
            forwarding: true,
            mtu: Some(1450),
            ..Default::default()
        };
        let text = Health::of(&report, &BTreeMap::new(), &[])
            .metrics()
            .unwrap();
        for line in [
            "weft_agent_ready 1",
            "weft_agent_mtu_bytes 1450",
            "path=\"vxlan\"} 0",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
