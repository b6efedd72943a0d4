//! What the cluster says of itself.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use weft_e2e::command::Cmd;
use weft_e2e::{tools, wait};
use weft_scenarios::stage::{NAMESPACE, PATIENCE, Stage, condition};

/// Waits until the agent of `node` reports a problem for `reason` (or reports none any more, if not
/// `present`), and gives its message.
///
/// # Errors
/// It does not in time.
pub async fn problem(
    stage: &Stage,
    node: &str,
    reason: &str,
    present: bool,
    limit: Duration,
) -> anyhow::Result<String> {
    let verb = if present { "to report" } else { "to report no" };
    let found = wait::until(format!("{node} {verb} {reason}"), limit, async || {
        let report = stage
            .get(&["nodereport", node])
            .await
            .map_err(|error| error.to_string())?;
        let problems = report["spec"]["problems"].as_array();
        let mut found = problems
            .into_iter()
            .flatten()
            .filter(|problem| problem["reason"] == reason)
            .map(|problem| problem["message"].as_str().unwrap_or_default().to_owned());
        match found.next() {
            Some(message) if present => Ok(message),
            None if !present => Ok(String::new()),
            _ => Err(report["spec"]["problems"].to_string()),
        }
    });
    Ok(found.await?)
}

/// Waits for an event of this reason whose text contains `text`.
///
/// # Errors
/// There is none in time.
pub async fn event(stage: &Stage, reason: &str, text: &str) -> anyhow::Result<String> {
    let what = format!("an event {reason} that says {text:?}");
    let found = wait::until(what, Duration::from_secs(30), async || {
        let selector = format!("--field-selector=reason={reason}");
        let events = stage
            .get(&["events", "--all-namespaces", &selector])
            .await
            .map_err(|error| error.to_string())?;
        let messages = events["items"].as_array().into_iter().flatten();
        let mut messages = messages.filter_map(|event| event["message"].as_str());
        let found = messages.find(|message| message.contains(text));
        found.map(str::to_owned).ok_or("none".to_owned())
    });
    Ok(found.await?)
}

/// Waits until every node that a BGPPeer selects has its session, for each BGPPeer.
///
/// # Errors
/// Not in time; the BGPPeer is named with its condition.
pub async fn sessions_up(stage: &Stage, limit: Duration) -> anyhow::Result<()> {
    wait::until("all BGPPeers to be Ready", limit, async || {
        let list = stage.get(&["bgppeers"]).await;
        let list = list.map_err(|error| error.to_string())?;
        for peer in list["items"].as_array().into_iter().flatten() {
            let ready = condition(peer, "Ready");
            let current = ready["observedGeneration"] == peer["metadata"]["generation"];
            if ready["status"] != "True" || !current {
                let (name, status) = (&peer["metadata"]["name"], &peer["status"]);
                return Err(format!("{name}: {status}"));
            }
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// Waits until a BGPPeer says one of `texts` in a condition; gives the message.
///
/// # Errors
/// Not in time; what it says is named.
pub async fn peer_says(
    stage: &Stage,
    peer: &str,
    texts: &[&str],
    limit: Duration,
) -> anyhow::Result<String> {
    let what = format!("BGPPeer {peer} to say one of {texts:?}");
    let found = wait::until(what, limit, async || {
        let object = stage.get(&["bgppeer", peer]).await;
        let object = object.map_err(|error| error.to_string())?;
        let conditions = object["status"]["conditions"].as_array();
        let messages = conditions.into_iter().flatten();
        let mut messages = messages.filter_map(|condition| condition["message"].as_str());
        let found = messages.find(|message| texts.iter().any(|text| message.contains(text)));
        found.map(str::to_owned).ok_or(object["status"].to_string())
    });
    Ok(found.await?)
}

/// Since when the session of a node with the address of a BGP peer has been up.
///
/// # Errors
/// It is not up.
pub async fn session_since(stage: &Stage, node: &str, address: &str) -> anyhow::Result<String> {
    let report = stage.get(&["nodereport", node]).await?;
    let sessions = report["spec"]["sessions"].as_array().into_iter().flatten();
    let mut sessions = sessions.filter(|session| session["address"] == address);
    let since = sessions
        .next()
        .and_then(|session| session["since"].as_str());
    Ok(since
        .with_context(|| format!("{node} has no session with {address}: {}", report["spec"]))?
        .to_owned())
}

/// What `kubectl weft bgp` with these arguments answers.
///
/// # Errors
/// It fails, or its answer is no JSON.
pub async fn bgp_command(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Value> {
    let program = tools::weft_binaries()?.join("kubectl-weft");
    let command = Cmd::new(program).args([&["bgp", "--output=json"], arguments].concat());
    let command = command.env("KUBECONFIG", stage.cluster.kubeconfig());
    let answer = command.run().await?.stdout;
    serde_json::from_str(&answer).with_context(|| format!("kubectl weft bgp {arguments:?}"))
}

/// Runs `kubectl weft ipam check`, again until the agents have reported what was done last.
///
/// # Errors
/// It goes on to find something.
pub async fn addresses_add_up(stage: &Stage) -> anyhow::Result<()> {
    let program = tools::weft_binaries()?.join("kubectl-weft");
    let kubeconfig = stage.cluster.kubeconfig();
    wait::until(
        "kubectl weft ipam check to find nothing",
        PATIENCE,
        async || {
            let command = Cmd::new(&program).args(["ipam", "check"]);
            let output = command.env("KUBECONFIG", &kubeconfig).output().await;
            let output = output.map_err(|error| error.to_string())?;
            match output.code {
                0 => Ok(()),
                code => Err(format!("code {code}: {}{}", output.stdout, output.stderr)),
            }
        },
    )
    .await?;
    Ok(())
}

/// How often the container of a pod of Weft has been started again.
///
/// # Errors
/// The API server does not say.
pub async fn restarts(stage: &Stage, pod: &str) -> anyhow::Result<u64> {
    let pod = stage.get(&["pod", pod, "--namespace", NAMESPACE]).await?;
    pod["status"]["containerStatuses"][0]["restartCount"]
        .as_u64()
        .context("no restartCount")
}

/// Deletes the pods of a component, so that their successors begin without the kubelet's growing
/// pauses between restarts, and waits for these.
///
/// # Errors
/// They do not come.
pub async fn renew(stage: &Stage, workload: &str, app: &str) -> anyhow::Result<()> {
    let selector = format!("app.kubernetes.io/name={app}");
    stage
        .kubectl(&[
            "delete",
            "pods",
            "--namespace",
            NAMESPACE,
            "--selector",
            &selector,
            "--timeout=60s",
        ])
        .await?;
    stage.wait_component(workload).await
}

/// The lines that a command on a node prints.
///
/// # Errors
/// It fails.
pub async fn lines(stage: &Stage, node: &str, command: &str) -> anyhow::Result<Vec<String>> {
    let output = stage
        .cluster
        .node(node)?
        .exec(["sh", "-c", command])
        .await?;
    Ok(output
        .stdout
        .lines()
        .map(|line| line.trim().to_owned())
        .collect())
}

/// Waits until every node's agent has published this MTU of pods, in bytes, and pods have it.
///
/// # Errors
/// Not in time.
pub async fn pod_mtu(stage: &Stage, mtu: u64, limit: Duration) -> anyhow::Result<()> {
    wait::until(format!("pods to have an MTU of {mtu}"), limit, async || {
        for node in stage.cluster.nodes().map_err(|error| error.to_string())? {
            let report = stage
                .get(&["nodereport", node.name()])
                .await
                .map_err(|error| error.to_string())?;
            if report["spec"]["mtu"].as_u64() != Some(mtu) {
                return Err(format!("{}: {}", node.name(), report["spec"]["mtu"]));
            }
            // The host ends of the veths have what pods accept.
            let show = "ip -json link show | tr '{' '\\n' | grep '\"weft[0-9a-f]*\"' || true";
            let links = lines(stage, node.name(), show)
                .await
                .map_err(|error| error.to_string())?;
            let wrong = links
                .iter()
                .find(|link| !link.contains(&format!("\"mtu\":{mtu},")));
            if let Some(link) = wrong {
                return Err(format!("{}: {link}", node.name()));
            }
        }
        Ok(())
    })
    .await?;
    Ok(())
}

/// A field of the IPBlocks that nodes own: the ranges by the name of the node.
///
/// # Errors
/// Two have one range.
pub async fn blocks(stage: &Stage) -> anyhow::Result<Vec<(String, String)>> {
    let list = stage.get(&["ipblocks"]).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut blocks: Vec<(String, String)> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|block| block["spec"]["node"].is_string())
        .map(|block| (text(&block["spec"]["cidr"]), text(&block["spec"]["node"])))
        .collect();
    blocks.sort();
    if let Some(pair) = blocks.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        bail!(
            "block {} has two owners: {} and {}",
            pair[0].0,
            pair[0].1,
            pair[1].1
        );
    }
    Ok(blocks)
}
