//! Asks for everything that a plan follows from.

use std::collections::BTreeMap;
use std::path::Path;

use kube::ResourceExt;
use weft_crds::{BGPPeer, NetworkConfig};

use super::{Report, Wanted, report};
use crate::client::{Pods, Reader};
use crate::error::Error;
use crate::manifest::{self, Manifest};

/// How often it is tried anew when the object changes between reading and asking: its status does, all the time.
const TRIES: u32 = 5;

/// The plan for what is in a file.
///
/// # Errors
/// The cluster or the file can't be read, the API server does not accept an object, or the generation is not
/// `generation`.
pub async fn ask(reader: &Reader, file: &Path, generation: Option<i64>) -> Result<Report, Error> {
    let manifest = manifest::read(file)?;
    let mut tries = 0;
    loop {
        tries += 1;
        match once(reader, &manifest, generation).await {
            Err(Error::Conflict(_)) if tries < TRIES => {}
            outcome => return outcome,
        }
    }
}

async fn once(
    reader: &Reader,
    manifest: &Manifest,
    generation: Option<i64>,
) -> Result<Report, Error> {
    let cluster = reader.cluster(Pods::OfAgents).await?;
    let present = cluster.config.metadata.generation.unwrap_or_default();
    if let Some(meant) = generation
        && meant != present
    {
        return Err(Error::OtherGeneration { meant, present });
    }
    let stored = Some(&cluster.config.metadata);
    let config: NetworkConfig = reader.dry_run(&manifest.config, stored).await?;
    let there = reader.bgp_peers().await?;
    let mut bgp_peers: BTreeMap<String, BGPPeer> = there
        .into_iter()
        .map(|peer| (peer.name_any(), peer))
        .collect();
    for object in &manifest.bgp_peers {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let stored = bgp_peers.get(name).map(|peer| peer.metadata.clone());
        let peer: BGPPeer = reader.dry_run(object, stored.as_ref()).await?;
        bgp_peers.insert(name.to_owned(), peer);
    }
    let wanted = Wanted {
        config,
        bgp_peers: bgp_peers.into_values().collect(),
    };
    let mut report = report(&cluster, &wanted);
    if manifest.others > 0 {
        report.notes.push(format!(
            "{} of other kinds in the file: not looked at",
            crate::text::count(manifest.others, "object")
        ));
    }
    Ok(report)
}
