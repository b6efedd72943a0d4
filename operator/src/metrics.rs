//! Metrics, and the small server that shows them and the health of the operator.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::clock;
use crate::plan::Figures;

/// The operator is alive while its loop has gone round within this time. It goes round at least every
/// half of it.
pub const ALIVE_WITHIN: Duration = Duration::from_secs(60);

/// Labels of a block count.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PoolLabels {
    pool: String,
    state: &'static str,
}

/// Labels of an action.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActionLabels {
    action: &'static str,
    outcome: &'static str,
}

/// All metrics. Cloning shares them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    leader: Gauge,
    plans: Histogram,
    actions: Family<ActionLabels, Counter>,
    nodes: Gauge,
    nodes_ready: Gauge,
    shortages: Gauge,
    stalled: Gauge,
    blocks: Family<PoolLabels, Gauge>,
    synced: Arc<AtomicBool>,
    last_round: Arc<AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Metrics {
            registry: Arc::new(Mutex::new(Registry::with_prefix("weft_operator"))),
            leader: Gauge::default(),
            plans: Histogram::new(exponential_buckets(0.0005, 4.0, 8)),
            actions: Family::default(),
            nodes: Gauge::default(),
            nodes_ready: Gauge::default(),
            shortages: Gauge::default(),
            stalled: Gauge::default(),
            blocks: Family::default(),
            synced: Arc::default(),
            last_round: Arc::new(AtomicU64::new(clock::mono().as_secs())),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let gauges = [
            ("leader", "1 while this operator leads", &self.leader),
            ("nodes", "Nodes of the cluster", &self.nodes),
            (
                "nodes_ready",
                "Nodes that do what the spec says and forward",
                &self.nodes_ready,
            ),
            (
                "block_shortages",
                "Needs for a block that no pool can meet",
                &self.shortages,
            ),
            (
                "stalled",
                "1 while the NetworkConfig is stalled",
                &self.stalled,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        registry.register(
            "plan_seconds",
            "Time that one plan takes",
            self.plans.clone(),
        );
        registry.register(
            "actions",
            "Changes made to the cluster",
            self.actions.clone(),
        );
        registry.register("blocks", "Blocks of a pool", self.blocks.clone());
    }

    /// Notes that the watches are in step with the cluster.
    pub fn set_synced(&self) {
        self.synced.store(true, Ordering::Relaxed);
    }

    /// Notes a round of the loop.
    pub fn round(&self, leads: bool) {
        self.leader.set(leads.into());
        self.last_round
            .store(clock::mono().as_secs(), Ordering::Relaxed);
    }

    /// Notes a plan.
    pub fn planned(&self, took: Duration, figures: &Figures) {
        self.plans.observe(took.as_secs_f64());
        self.nodes.set(figures.nodes.into());
        self.nodes_ready.set(figures.nodes_ready.into());
        self.shortages
            .set(i64::try_from(figures.shortages).unwrap_or(i64::MAX));
        self.stalled.set(figures.stalled.into());
        self.blocks.clear();
        for (pool, total, allocated, cooling) in &figures.pools {
            let free = total.saturating_sub(allocated + cooling);
            for (state, count) in [
                ("allocated", *allocated),
                ("released", *cooling),
                ("free", free),
            ] {
                let labels = PoolLabels {
                    pool: pool.clone(),
                    state,
                };
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                self.blocks.get_or_create(&labels).set(count);
            }
        }
    }

    /// Counts an action.
    pub fn acted(&self, action: &'static str, outcome: &'static str) {
        self.actions
            .get_or_create(&ActionLabels { action, outcome })
            .inc();
    }

    /// All metrics in the OpenMetrics format.
    ///
    /// # Errors
    /// A metric can't be written down.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut text, &registry)?;
        Ok(text)
    }

    /// The routes of the server.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/metrics", get(show))
            .route("/livez", get(alive))
            .route("/readyz", get(ready))
            .with_state(self.clone())
    }
}

async fn show(State(metrics): State<Metrics>) -> impl IntoResponse {
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.text() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, openmetrics)], text),
        Err(error) => {
            let plain = [(header::CONTENT_TYPE, "text/plain")];
            (StatusCode::INTERNAL_SERVER_ERROR, plain, error.to_string())
        }
    }
}

async fn alive(State(metrics): State<Metrics>) -> (StatusCode, &'static str) {
    let last = metrics.last_round.load(Ordering::Relaxed);
    if clock::mono().as_secs() <= last + ALIVE_WITHIN.as_secs() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the loop stands still\n")
    }
}

async fn ready(State(metrics): State<Metrics>) -> (StatusCode, &'static str) {
    if metrics.synced.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the watches are not in step yet\n",
        )
    }
}
