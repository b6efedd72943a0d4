//! What must be so in a network that has settled, by rules written down once more and plainly.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::IpNet;
use weft_bgp::rib::{PeerId, Table};
use weft_bgp::route::{Attributes, Nlri, Segment};

use super::simulation::{FAMILY, Simulation, peer_id};
use super::topology::Role;

/// A route as its receiver sees it.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    from: PeerId,
    path_id: u32,
    attributes: Attributes,
}

type Routes = BTreeMap<Nlri, Attributes>;

pub fn check(simulation: &Simulation) {
    for (from, to) in neighbours(simulation) {
        let told = sent(simulation, from, to);
        assert_eq!(told, heard(simulation, from, to), "{from} told {to}");
        check_told(simulation, from, to, &told);
    }
    for node in 0..simulation.ribs.len() {
        check_selected(simulation, node);
    }
    check_nothing_is_left(simulation);
    if simulation.up.len() == simulation.topology.sessions.len() {
        check_everybody_knows_all(simulation);
    }
    let mesh = |node: &super::topology::Node| node.role == Role::Mesh;
    let nodes = &simulation.topology.nodes;
    if nodes.iter().all(mesh) && nodes.iter().all(|node| node.asn == nodes[0].asn) {
        check_mesh(simulation);
    }
}

/// Who hears whom.
fn neighbours(simulation: &Simulation) -> impl Iterator<Item = (usize, usize)> {
    let up = simulation.up.iter();
    up.flat_map(|(one, other)| [(*one, *other), (*other, *one)])
}

fn sent(simulation: &Simulation, from: usize, to: usize) -> Routes {
    let sent = simulation.ribs[from].exports.sent(peer_id(to), FAMILY);
    sent.map(|(nlri, sent)| (nlri, Attributes::clone(sent)))
        .collect()
}

fn heard(simulation: &Simulation, from: usize, to: usize) -> Routes {
    let received = simulation.ribs[to].table.received(peer_id(from));
    let route = |(prefix, path): (&IpNet, &weft_bgp::rib::Path)| {
        assert!(!path.is_stale());
        let (prefix, path_id) = (*prefix, path.path_id());
        (Nlri { prefix, path_id }, Attributes::clone(path.received()))
    };
    received.map(route).collect()
}

fn selected(table: &Table) -> BTreeMap<IpNet, Seen> {
    let route = |(prefix, paths): (&IpNet, &[weft_bgp::rib::Path])| {
        let best = &paths[0];
        // There is no import policy here that changes anything.
        assert_eq!(best.accepted(), Some(best.received()));
        let seen = Seen {
            from: best.from(),
            path_id: best.path_id(),
            attributes: Attributes::clone(best.received()),
        };
        (*prefix, seen)
    };
    table.routes().map(route).collect()
}

/// What one tells another follows from what it has selected.
fn check_told(simulation: &Simulation, from: usize, to: usize, told: &Routes) {
    let topology = &simulation.topology;
    if topology.nodes[from].add_path.is_some() && !topology.is_external(from, to) {
        return;
    }
    let mut expected = BTreeSet::new();
    for (prefix, best) in selected(&simulation.ribs[from].table) {
        let source = best.from.0 as usize;
        let internal = best.from != PeerId::LOCAL && !topology.is_external(source, from);
        let reflected = internal && !topology.is_external(from, to);
        let passes = !reflected || topology.reflects(from, source) || topology.reflects(from, to);
        if source == to || !passes {
            continue;
        }
        expected.insert(prefix);
        let route = &told[&Nlri { prefix, path_id: 0 }];
        let mut path = best.attributes.as_path.clone();
        if topology.is_external(from, to) {
            let rest = path.into_iter().flat_map(|segment| match segment {
                Segment::Sequence(ases) | Segment::Set(ases) => ases,
            });
            path = vec![Segment::Sequence(
                [topology.nodes[from].asn].into_iter().chain(rest).collect(),
            )];
        }
        assert_eq!(route.as_path, path);
        let hop = match reflected {
            true => best.attributes.next_hop,
            false => topology.nodes[from].id.into(),
        };
        assert_eq!(route.next_hop, hop);
        assert_eq!(
            route.cluster_list.len(),
            match reflected {
                true => best.attributes.cluster_list.len() + 1,
                false => 0,
            }
        );
    }
    let told: BTreeSet<_> = told.keys().map(|nlri| nlri.prefix).collect();
    assert_eq!(told, expected, "{from} tells {to}");
}

/// What a node has selected follows from what its neighbours tell it.
fn check_selected(simulation: &Simulation, node: usize) {
    let rib = &simulation.ribs[node];
    let mut known: BTreeMap<IpNet, Vec<Seen>> = BTreeMap::new();
    for (prefix, attributes) in &rib.originated {
        let (from, path_id) = (PeerId::LOCAL, 0);
        let attributes = attributes.clone();
        known.entry(*prefix).or_default().push(Seen {
            from,
            path_id,
            attributes,
        });
    }
    for (from, _) in neighbours(simulation).filter(|(_, to)| *to == node) {
        for (nlri, attributes) in sent(simulation, from, node) {
            if !is_looped(simulation, node, &attributes) {
                let (from, path_id) = (peer_id(from), nlri.path_id);
                known.entry(nlri.prefix).or_default().push(Seen {
                    from,
                    path_id,
                    attributes,
                });
            }
        }
    }
    let best = |(prefix, paths)| Some((prefix, best(simulation, node, paths)?));
    let expected: BTreeMap<_, _> = known.into_iter().filter_map(best).collect();
    assert_eq!(selected(&rib.table), expected, "selected by {node}");
}

fn is_looped(simulation: &Simulation, node: usize, attributes: &Attributes) -> bool {
    let node = &simulation.topology.nodes[node];
    let own =
        |segment: &Segment| matches!(segment, Segment::Sequence(ases) if ases.contains(&node.asn));
    attributes.as_path.iter().any(own)
        || attributes.originator_id == Some(node.id)
        || attributes.cluster_list.contains(&node.id)
}

/// RFC 4271, section 9.1.2.2, step by step; nothing here has LLGR_STALE, an AS_SET or another cost.
fn best(simulation: &Simulation, node: usize, mut paths: Vec<Seen>) -> Option<Seen> {
    let nodes = &simulation.topology.nodes;
    keep_least(&mut paths, |path| {
        u32::MAX - path.attributes.local_pref.unwrap_or(100)
    });
    keep_least(&mut paths, |path| path.from != PeerId::LOCAL);
    keep_least(&mut paths, |path| ases(path).len());
    keep_least(&mut paths, |path| path.attributes.origin);
    let all = paths.clone();
    paths.retain(|path| {
        let med = |path: &Seen| path.attributes.med.unwrap_or(0);
        let comparable = all
            .iter()
            .filter(|other| ases(other).first() == ases(path).first());
        comparable.map(med).min() == Some(med(path))
    });
    let external = |path: &Seen| {
        nodes
            .get(path.from.0 as usize)
            .is_some_and(|from| from.asn != nodes[node].asn)
    };
    keep_least(&mut paths, |path| !external(path));
    let id = |path: &Seen| {
        nodes
            .get(path.from.0 as usize)
            .map_or(Ipv4Addr::UNSPECIFIED, |from| from.id)
    };
    keep_least(&mut paths, |path| {
        path.attributes.originator_id.unwrap_or(id(path))
    });
    keep_least(&mut paths, |path| path.attributes.cluster_list.len());
    keep_least(&mut paths, id);
    keep_least(&mut paths, |path| path.path_id);
    assert!(paths.len() <= 1);
    paths.pop()
}

fn ases(path: &Seen) -> Vec<u32> {
    let ases = path
        .attributes
        .as_path
        .iter()
        .flat_map(|segment| match segment {
            Segment::Sequence(ases) | Segment::Set(ases) => ases,
        });
    ases.copied().collect()
}

fn keep_least<K: Ord>(paths: &mut Vec<Seen>, key: impl Fn(&Seen) -> K) {
    if let Some(least) = paths.iter().map(&key).min() {
        paths.retain(|path| key(path) == least);
    }
}

/// What nobody originates is nowhere.
fn check_nothing_is_left(simulation: &Simulation) {
    let originated = originated(simulation);
    for rib in &simulation.ribs {
        assert!(
            selected(&rib.table)
                .keys()
                .all(|prefix| originated.contains(prefix))
        );
        for from in 0..simulation.ribs.len() {
            let mut received = rib.table.received(peer_id(from));
            assert!(received.all(|(prefix, _)| originated.contains(prefix)));
        }
    }
}

/// With all sessions up, everybody has a route to everything.
fn check_everybody_knows_all(simulation: &Simulation) {
    let originated = originated(simulation);
    for rib in &simulation.ribs {
        let known: BTreeSet<_> = selected(&rib.table).into_keys().collect();
        assert_eq!(known, originated);
    }
}

/// In one mesh, each has its own route, or of those that it hears the one with the least MED, and then router ID.
fn check_mesh(simulation: &Simulation) {
    for (node, rib) in simulation.ribs.iter().enumerate() {
        for (prefix, best) in selected(&rib.table) {
            let hears = |from: &usize| neighbours(simulation).any(|pair| pair == (*from, node));
            let route = |from: usize| simulation.ribs[from].originated.get(&prefix);
            let has = |from: &usize| route(*from).is_some();
            let others = (0..simulation.ribs.len()).filter(|from| hears(from) && has(from));
            let med = |from: usize| route(from).and_then(|route| route.med).unwrap_or(0);
            let least = others.min_by_key(|from| (med(*from), simulation.topology.nodes[*from].id));
            let expected = match has(&node) {
                true => Some(PeerId::LOCAL),
                false => least.map(peer_id),
            };
            assert_eq!(Some(best.from), expected);
        }
    }
}

fn originated(simulation: &Simulation) -> BTreeSet<IpNet> {
    let ribs = simulation.ribs.iter();
    ribs.flat_map(|rib| rib.originated.keys().copied())
        .collect()
}
