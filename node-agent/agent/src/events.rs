//! Kubernetes events about this node: one for each problem when it first appears.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, ObjectReference};
use kube::{Client, Resource};
use kube_runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use weft_crds::Problem;

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends events.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<Problem>,
    known: Mutex<BTreeSet<(String, String)>>,
}

impl Events {
    /// Events about the node of this name.
    pub fn start(client: Client, node: &str) -> Self {
        let (queue, mut problems) = mpsc::channel::<Problem>(64);
        let reporter = Reporter {
            controller: "weft-agent".into(),
            instance: Some(node.into()),
        };
        // The UID that kubelet gives its own events about the node: tools look for that.
        let about = ObjectReference {
            uid: Some(node.into()),
            name: Some(node.into()),
            kind: Some(Node::kind(&()).into_owned()),
            ..ObjectReference::default()
        };
        tokio::spawn(async move {
            while let Some(problem) = problems.recv().await {
                let event = Event {
                    type_: EventType::Warning,
                    reason: problem.reason,
                    note: Some(problem.message),
                    action: "Reconcile".into(),
                    secondary: None,
                };
                // A recorder takes whatever has the same reason for a repetition, and keeps the first
                // note. Each note here is another problem.
                let recorder = Recorder::new(client.clone(), reporter.clone());
                let sent = tokio::time::timeout(TIMEOUT, recorder.publish(&event, &about)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    tracing::debug!(reason = event.reason, "event not sent");
                }
            }
        });
        Self {
            queue,
            known: Mutex::default(),
        }
    }

    /// Logs each of `problems` that the last call didn't have and sends an event for it; logs which of
    /// those are gone.
    pub fn problems(&self, problems: &[Problem]) {
        let now: BTreeSet<(String, String)> = problems
            .iter()
            .map(|problem| (problem.reason.clone(), problem.message.clone()))
            .collect();
        let Ok(mut known) = self.known.lock() else {
            return;
        };
        for (reason, message) in known.difference(&now) {
            tracing::info!(reason, message, "no longer");
        }
        for (reason, message) in now.difference(&known) {
            tracing::warn!(reason, message);
            // A full queue drops the event: the problem is in the report all the same.
            let event = Problem {
                reason: reason.clone(),
                message: message.clone(),
            };
            if self.queue.try_send(event).is_err() {
                tracing::debug!(reason, "event dropped");
            }
        }
        *known = now;
    }
}
