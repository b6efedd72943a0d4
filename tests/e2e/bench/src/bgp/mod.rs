//! The BGP speaker beside BIRD, FRR and GoBGP: the same sessions, the same routes, one daemon after the other in
//! each round.
//!
//! Everything is in one network namespace: the daemon has an address on a device, its BGP peers have others that
//! are local too, and nothing is installed into the kernel. All sessions are iBGP, as between nodes.

mod configuration;
mod daemon;
mod feed;
mod messages;
mod peers;
mod reflection;
mod sessions;
mod speaker;

use std::net::Ipv4Addr;

use weft_e2e::netns;

pub use self::speaker::{Options, run as speak};
use crate::place::Place;
use crate::report::Section;

/// The namespace.
const NAME: &str = "weft-bench-bgp";
/// The AS of all.
const ASN: u32 = 64512;
/// The address of the daemon.
const DAEMON: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// How many BGP peers there are in a large cluster.
const MANY: usize = 1000;

/// The address of the BGP peer with this number.
fn address(number: usize) -> Ipv4Addr {
    let first = u32::from(Ipv4Addr::new(10, 99, 128, 1));
    Ipv4Addr::from(first + u32::try_from(number).unwrap_or_default())
}

/// Measures it all.
pub async fn run(rounds: usize) -> anyhow::Result<Vec<Section>> {
    strike()?;
    netns::create(NAME)?;
    let place = Place::named(NAME);
    let batch = format!(
        "link set lo up\n\
         link add name node type veth peer name wire\n\
         address add {DAEMON}/16 dev node\n\
         link set wire up\n\
         link set node up\n\
         route add local 10.99.128.0/17 dev lo\n"
    );
    place.feed("ip", &["-batch", "-"], batch).await?;
    place
        .within(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut sections = vec![feed::run(rounds).await?];
                sections.push(sessions::run(rounds).await?);
                sections.push(reflection::run(rounds).await?);
                Ok(sections)
            })
        })
        .await
}

/// Removes what is left of a run.
pub fn strike() -> anyhow::Result<()> {
    Ok(netns::delete(NAME)?)
}
