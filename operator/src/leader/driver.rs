//! Drives the election on a Lease of the API server.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use tokio::sync::watch;
use tracing::{info, warn};

use super::machine::{Input, Machine, Record, Request, Seen, Timing};
use crate::clock;

/// Whether this process leads, to be asked before each write.
#[derive(Debug, Clone)]
pub struct Leadership {
    until: watch::Receiver<Option<Duration>>,
}

impl Leadership {
    /// Whether this process may act now. Between the answer and the end of the action, less than the
    /// margin of the election may pass.
    pub fn may_act(&self) -> bool {
        self.until
            .borrow()
            .is_some_and(|until| clock::mono() < until)
    }

    /// Waits until the leadership is taken, renewed or lost.
    pub async fn changed(&mut self) {
        if self.until.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Leads for ever. For programs that do one thing and end, and for tests.
    pub fn always() -> Self {
        let (sender, until) = watch::channel(Some(Duration::MAX));
        drop(sender);
        Leadership { until }
    }
}

/// A name that no other process has or had.
pub fn identity(pod: &str) -> String {
    let start = Timestamp::now().as_nanosecond();
    format!("{pod}_{}_{start:x}", std::process::id())
}

/// Starts a candidate. It runs until `stop` resolves, then gives the lease up and ends.
pub fn run(
    client: Client,
    namespace: &str,
    name: &str,
    identity: String,
    timing: Timing,
    stop: impl Future<Output = ()> + Send + 'static,
) -> (Leadership, tokio::task::JoinHandle<()>) {
    let (sender, until) = watch::channel(None);
    let driver = Driver {
        api: Api::namespaced(client, namespace),
        name: name.to_string(),
        timing,
        until: sender,
        machine: Machine::new(identity, timing),
    };
    (Leadership { until }, tokio::spawn(driver.drive(stop)))
}

struct Driver {
    api: Api<Lease>,
    name: String,
    timing: Timing,
    until: watch::Sender<Option<Duration>>,
    machine: Machine,
}

impl Driver {
    async fn drive(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            self.step(Input::Tick).await;
            let wait = self.machine.deadline().saturating_sub(clock::mono());
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep(wait.max(Duration::from_millis(10))) => {}
            }
        }
        self.step(Input::Stop).await;
    }

    /// Feeds the machine and carries out what it asks for, until it asks for nothing.
    async fn step(&mut self, first: Input) {
        let mut input = first;
        loop {
            let request = self.machine.handle(input, clock::mono());
            self.publish();
            let Some(request) = request else { return };
            // A call may not outlast the margin, or it would still be under way when others act.
            let call = tokio::time::timeout(self.timing.margin.mul_f32(0.8), self.call(request));
            input = call.await.unwrap_or(Input::Failed);
        }
    }

    fn publish(&self) {
        let until = self.machine.held_until();
        let before = self.until.send_replace(until);
        if before.is_some() != until.is_some() {
            match until {
                Some(_) => info!("leads"),
                None => info!(holder = self.machine.holder(), "doesn't lead"),
            }
        }
    }

    async fn call(&self, request: Request) -> Input {
        match request {
            Request::Read => match self.api.get_opt(&self.name).await {
                Ok(lease) => Input::Read(lease.map(|lease| seen(&lease))),
                Err(error) => self.failed("read", &error),
            },
            Request::Write { record, replaces } => {
                let lease = self.lease(&record, replaces.clone());
                let parameters = PostParams::default();
                let written = match replaces {
                    Some(_) => self.api.replace(&self.name, &parameters, &lease).await,
                    None => self.api.create(&parameters, &lease).await,
                };
                match written {
                    Ok(lease) => Input::Wrote(seen(&lease)),
                    Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Input::Refused,
                    Err(error) => self.failed("write", &error),
                }
            }
        }
    }

    fn failed(&self, verb: &str, error: &Error) -> Input {
        warn!(lease = self.name, %error, "can't {verb} the Lease; trying again");
        Input::Failed
    }

    fn lease(&self, record: &Record, version: Option<String>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let (uid, version) = version
            .as_deref()
            .and_then(|version| version.split_once('/'))
            .unzip();
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                uid: uid.map(Into::into),
                resource_version: version.map(Into::into),
                labels: Some(crate::plan::agent_manifest::labels("weft-operator")),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(record.holder.clone()),
                lease_duration_seconds: i32::try_from(record.lease.as_secs()).ok(),
                lease_transitions: Some(record.transitions),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }
}

/// The version of a Lease is its UID and its resourceVersion: an update of one that is gone makes a new
/// one, whatever resourceVersion it names, unless it names the UID as well.
fn seen(lease: &Lease) -> Seen {
    let uid = lease.metadata.uid.as_deref().unwrap_or_default();
    let version = lease.metadata.resource_version.as_deref();
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.unwrap_or(0);
    Seen {
        record: Record {
            holder: spec.holder_identity.unwrap_or_default(),
            lease: Duration::from_secs(seconds.max(0).unsigned_abs().into()),
            transitions: spec.lease_transitions.unwrap_or(0),
        },
        version: format!("{uid}/{}", version.unwrap_or_default()),
    }
}
