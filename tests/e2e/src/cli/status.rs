//! `weft-testbed status`: every cluster of the machine on a few lines.

use weft_e2e::controlplane::{API, CONTROLLERS, ControlPlane};
use weft_e2e::error::Result;
use weft_e2e::faults;
use weft_e2e::state::{StateDir, clusters};
use weft_e2e::{Cluster, leftovers};

pub(super) async fn print() -> Result<()> {
    let names = clusters();
    if names.is_empty() {
        println!("no cluster is up; `weft-testbed up` brings one up");
    }
    for name in names {
        match Cluster::attach(&name) {
            Ok(cluster) => one(&name, &cluster).await?,
            Err(_) => {
                println!("{name}: in pieces; `weft-testbed --cluster {name} down` removes them:");
                leftovers::find(&name)?
                    .iter()
                    .for_each(|what| println!("  {what}"));
            }
        }
    }
    Ok(())
}

async fn one(name: &str, cluster: &Cluster) -> Result<()> {
    println!("{name}: KUBECONFIG={}", cluster.kubeconfig().display());
    let dir = StateDir::of(name);
    let saved = dir.load()?;
    let control = ControlPlane::new(&dir, &saved);
    for program in API.into_iter().chain(CONTROLLERS) {
        let state = control
            .process(program)
            .map_or("stopped".to_owned(), |id| format!("pid {}", id.pid));
        println!("  {program:<24} {state}");
    }
    for node in cluster.nodes()? {
        let state = match node.pid1() {
            None => "off".to_owned(),
            Some(id) => format!(
                "pid {}, runs {}",
                id.pid,
                node.running_services().await?.join(", ")
            ),
        };
        let addresses: Vec<_> = node
            .endpoint()
            .ips()
            .iter()
            .map(ToString::to_string)
            .collect();
        println!("  {:<24} {state}; {}", node.name(), addresses.join(", "));
    }
    for fault in faults::current(&dir)? {
        let percent = f64::from(fault.per_million) / f64::from(faults::ALL) * 100.0;
        println!(
            "  {percent} % of packets from {} to {} are lost",
            fault.from, fault.to
        );
    }
    Ok(())
}
