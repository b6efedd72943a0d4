//! The loop: woken by a watch, a deadline or the election; looks at everything, plans, applies.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{debug, info};

use crate::apply::{Executor, Outcome};
use crate::clock;
use crate::events::Announcer;
use crate::leader::{self, Leadership};
use crate::memory::Memory;
use crate::metrics::{ALIVE_WITHIN, Metrics};
use crate::plan::daemonset::AgentSettings;
use crate::plan::{self, Action, Plan};
use crate::settings::{RunSettings, Settings};
use crate::watch::Watches;

/// Name of the Lease, and of the Deployment.
pub const LEASE: &str = "weft-operator";

/// The least time between two rounds: changes come in bursts.
const PAUSE: Duration = Duration::from_millis(50);
/// The most.
const IDLE: Duration = Duration::from_secs(ALIVE_WITHIN.as_secs() / 2);
/// The first wait after a failure; it doubles up to [`IDLE`].
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Runs until told to stop by SIGTERM or SIGINT, then gives the lease up.
///
/// # Errors
/// There is no way to the API server in the environment, or the address of metrics is taken.
pub async fn run(settings: &Settings, own: &RunSettings) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("can't handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't handle SIGINT")?;
    let client = weft_client::infer().await?;
    let metrics = Metrics::default();
    let listener = tokio::net::TcpListener::bind(own.listen)
        .await
        .with_context(|| format!("can't listen on {}; choose another --listen", own.listen))?;
    tokio::spawn(axum::serve(listener, metrics.router()).into_future());

    let (stop, stopped) = oneshot::channel::<()>();
    let (leadership, election) = leader::run(
        client.clone(),
        &settings.namespace,
        LEASE,
        leader::identity(&own.pod_name),
        leader::machine::Timing::default(),
        async {
            // Both a message and a dropped sender mean: stop.
            let _ = stopped.await;
        },
    );
    let operator = Operator {
        watches: Watches::start(&client, &settings.namespace),
        executor: Executor::new(
            client.clone(),
            &settings.namespace,
            leadership.clone(),
            Announcer::new(client, &own.pod_name),
            metrics.clone(),
        ),
        agent: settings.agent(),
        leadership,
        metrics,
    };
    tokio::select! {
        () = operator.reconcile() => {}
        _ = terminate.recv() => info!("stops, as SIGTERM asks"),
        _ = interrupt.recv() => info!("stops, as SIGINT asks"),
    }
    // No action is under way any more, so another operator may take over at once.
    drop(stop);
    election.await.context("the election ended badly")
}

/// The parts of a running operator.
pub struct Operator {
    /// What it looks at.
    pub watches: Watches,
    /// What it acts with.
    pub executor: Executor,
    /// What it is told of agents.
    pub agent: AgentSettings,
    /// Whether it acts.
    pub leadership: Leadership,
    /// What it shows.
    pub metrics: Metrics,
}

impl Operator {
    /// Reconciles for ever.
    pub async fn reconcile(&self) {
        self.watches.synced().await;
        self.metrics.set_synced();
        let mut memory = Memory::default();
        let mut leadership = self.leadership.clone();
        let mut failures = 0u32;
        loop {
            let leads = self.leadership.may_act();
            self.metrics.round(leads);
            let (outcome, wait, took) = match leads {
                true => self.round(&mut memory).await,
                false => (Outcome::default(), IDLE, Duration::ZERO),
            };
            failures = if outcome.failed {
                failures.saturating_add(1)
            } else {
                0
            };
            let wait = match outcome {
                Outcome { failed: true, .. } => {
                    AFTER_FAILURE.saturating_mul(1 << failures.min(6)).min(IDLE)
                }
                Outcome { again: true, .. } => PAUSE,
                _ => wait,
            };
            // A large cluster takes longer to look at, and is looked at less often.
            tokio::time::sleep(PAUSE.max(took * 4)).await;
            tokio::select! {
                () = self.watches.changed(), if !outcome.failed => {}
                () = leadership.changed(), if leads != self.leadership.may_act() || !leads => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One look, one plan, and its actions. Returns also how long to wait at the most, and how long
    /// looking and planning took.
    async fn round(&self, memory: &mut Memory) -> (Outcome, Duration, Duration) {
        let start = Instant::now();
        let now = clock::now();
        let mut observed = self.watches.view();
        memory.merge(&mut observed, now.mono);
        let Plan {
            actions,
            deadline,
            figures,
            timers,
        } = plan::plan(&observed, memory, &self.agent, now);
        let took = start.elapsed();
        memory.timers = timers.unwrap_or_default();
        if actions
            .iter()
            .any(|action| matches!(action, Action::WriteStatus(_)))
        {
            memory.status_written = Some(now.mono);
        }
        self.metrics.planned(took, &figures);
        debug!(actions = actions.len(), ?took, "planned");
        let outcome = match observed.subject() {
            Some(subject) if !actions.is_empty() => {
                self.executor.apply(actions, &subject, memory).await
            }
            _ => Outcome::default(),
        };
        let wait = deadline.map_or(IDLE, |at| at.saturating_sub(clock::mono()).min(IDLE));
        (outcome, wait, took)
    }
}
