//! Seeded networks of bare RIBs that deliver their UPDATEs to each other, in any order between sessions: whatever has
//! happened, they settle on what a plain recomputation says.
//!
//! `WEFT_BGP_SEEDS` is the number of networks; `WEFT_BGP_SEED` is the one to run alone.

#[path = "network/oracle.rs"]
mod oracle;
#[path = "network/simulation.rs"]
mod simulation;
#[path = "network/topology.rs"]
mod topology;

use simulation::Simulation;
use topology::{Random, Topology};

/// Events before the network is left alone.
const EVENTS: u64 = 60;

#[test]
fn networks_settle_on_what_the_oracle_says() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse().ok())
    };
    let seeds = match number("WEFT_BGP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WEFT_BGP_SEEDS").unwrap_or(500),
    };
    for seed in seeds {
        // Printed only when the test fails.
        println!("WEFT_BGP_SEED={seed}");
        let mut random = Random::new(seed);
        let topology = Topology::new(&mut random);
        let mut simulation = Simulation::new(topology, seed);
        for _ in 0..random.below(EVENTS) {
            simulation.event(&mut random);
        }
        if random.one_in(2) {
            simulation.heal();
        }
        simulation.settle(&mut random);
        oracle::check(&simulation);
    }
}
