//! The election on a real API server.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{NAMESPACE, prepared, until};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, DeleteParams};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weft_operator::leader::machine::Timing;
use weft_operator::leader::{self, Leadership};

fn quick() -> Timing {
    Timing {
        lease: Duration::from_secs(4),
        margin: Duration::from_secs(1),
        renew: Duration::from_millis(500),
        retry: Duration::from_millis(200),
    }
}

struct Candidate {
    leadership: Leadership,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn candidate(client: &Client, name: &str) -> Candidate {
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _: Result<(), _> = stopped.await;
    };
    let identity = leader::identity(name);
    let (leadership, task) = leader::run(
        client.clone(),
        NAMESPACE,
        "test",
        identity,
        quick(),
        stopped,
    );
    Candidate {
        leadership,
        stop,
        task,
    }
}

async fn holder(client: &Client) -> String {
    let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let lease = api.get("test").await.unwrap();
    lease.spec.unwrap().holder_identity.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_and_another_takes_over() {
    let (server, client) = prepared().await;
    let a = candidate(&client, "a");
    until("a leads", async || a.leadership.may_act()).await;
    let b = candidate(&client, "b");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(
        a.leadership.may_act() && !b.leadership.may_act(),
        "b waits while a renews"
    );

    // Given up, it is taken at once; the record says by whom.
    a.stop.send(()).unwrap();
    a.task.await.unwrap();
    assert!(!a.leadership.may_act());
    until("b leads", async || b.leadership.may_act()).await;
    assert!(holder(&client).await.starts_with("b_"));

    // Killed, it is waited for.
    let c = candidate(&client, "c");
    b.task.abort();
    until("c leads", async || {
        let (b, c) = (b.leadership.may_act(), c.leadership.may_act());
        assert!(!(b && c), "two lead");
        c
    })
    .await;

    // Cut off from the API server, it stops by itself; afterwards it goes on.
    server.stop().unwrap();
    until("c stops", async || !c.leadership.may_act()).await;
    server.resume().await.unwrap();
    until("c leads again", async || c.leadership.may_act()).await;

    // Someone deletes the record: it stops at once, and somebody leads again later.
    let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    api.delete("test", &DeleteParams::default()).await.unwrap();
    until("c notices", async || !c.leadership.may_act()).await;
    until("c leads again", async || c.leadership.may_act()).await;
    c.stop.send(()).unwrap();
    c.task.await.unwrap();
    assert_eq!(holder(&client).await, "");
}
