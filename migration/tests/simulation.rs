//! Clusters on their way from one mode to another, by chance: the functions that operator and agents run, with a clock,
//! an API server and kernels that are made up. Every seed is one story, the same each time.
//!
//! `WEFT_SEEDS=100000` goes through so many of them, `WEFT_SEED=7 ... -- --nocapture` tells the story of one.

#[path = "simulation/agent.rs"]
mod agent;
#[path = "simulation/chance.rs"]
mod chance;
#[path = "simulation/checks.rs"]
mod checks;
#[path = "simulation/counts.rs"]
mod counts;
#[path = "simulation/mischief.rs"]
mod mischief;
#[path = "simulation/operator.rs"]
mod operator;
#[path = "model/rules.rs"]
mod rules;
#[path = "simulation/scale.rs"]
mod scale;
#[path = "simulation/world.rs"]
mod world;

use mischief::run;
use rules::Rules;

/// So many seeds where nobody says otherwise.
const SEEDS: u64 = 4_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_seed_loses_a_packet_and_each_comes_to_rest() {
    if let Some(seed) = number("WEFT_SEED") {
        let outcome = run(seed, true, Rules::Real);
        assert_eq!(outcome.broken, None, "seed {seed}");
        return;
    }
    let seeds = number("WEFT_SEEDS").unwrap_or(SEEDS);
    let (mut nodes, mut steps, mut failed, mut hours) = (0, 0, 0, 0);
    for seed in 0..seeds {
        let outcome = run(seed, false, Rules::Real);
        assert_eq!(
            outcome.broken, None,
            "seed {seed}: WEFT_SEED={seed} cargo test -p weft-migration --test simulation -- --nocapture tells its story"
        );
        nodes += outcome.nodes;
        steps += outcome.steps;
        failed += u64::from(outcome.failed);
        hours += outcome.virtual_time;
    }
    println!(
        "{seeds} seeds, {nodes} nodes, {steps} steps, {failed} ended where they began and say why, {} hours of the clusters",
        hours / 3_600_000
    );
}

/// The simulation would see it if a rule were broken; but for what is so rare, or (an agent that reports before it
/// saves) can't happen to the agent as it is simulated, that only the model finds it, which goes everywhere.
#[test]
fn rules_that_are_broken_are_found_out_by_chance() {
    let rare = [
        Rules::LeftOutLetGoAtOnce,
        Rules::RetireForgetsReturned,
        Rules::ReportsComeBeforeSaving,
    ];
    for rules in Rules::BROKEN
        .into_iter()
        .filter(|rules| !rare.contains(rules))
    {
        let found = (0..SEEDS).find_map(|seed| Some((seed, run(seed, false, rules).broken?)));
        let Some((seed, what)) = found else {
            panic!("{rules:?} is not found out in {SEEDS} seeds");
        };
        println!("{rules:?}: seed {seed}: {what}");
    }
}
