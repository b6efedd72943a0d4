//! What people are answered.

use ipnet::IpNet;
use weft_bgp::rib::{self, PeerId};
use weft_bgp::route::{Attributes, Family, Origin, Segment, community};
use weft_bgp::speaker::Speaker;

use crate::query::Path;

/// All paths that can be used, to all prefixes or to one, by prefix, best first. `name` gives that of a BGP peer.
pub(crate) fn routes(
    speaker: &Speaker,
    prefix: Option<IpNet>,
    name: impl Fn(PeerId) -> Option<String>,
) -> Vec<Path> {
    let table = speaker.table();
    let to = |prefix: &IpNet| {
        let selected = table.best(prefix).len();
        let paths = table.eligible(prefix).iter().enumerate();
        let rows = paths.filter_map(|(at, path)| {
            Some(Path {
                path_id: path.path_id(),
                best: at == 0,
                selected: at < selected,
                stale: path.is_stale(),
                ..row(prefix, path.accepted()?, name(path.from()))
            })
        });
        rows.collect::<Vec<Path>>()
    };
    if let Some(prefix) = prefix {
        return to(&prefix);
    }
    let mut rows: Vec<Path> = table.routes().flat_map(|(prefix, _)| to(prefix)).collect();
    // The order of paths to the same prefix stays.
    rows.sort_by_key(|row| row.prefix);
    rows
}

/// What a BGP peer has announced, by prefix.
pub(crate) fn received(speaker: &Speaker, from: PeerId, name: &str) -> Vec<Path> {
    let table = speaker.table();
    let row = |(prefix, path): (&IpNet, &rib::Path)| {
        let same = |other: &rib::Path| (other.from(), other.path_id()) == (from, path.path_id());
        let unreachable = || {
            let usable = table.eligible(prefix).iter().any(same);
            (!usable).then(|| "its next hop can't be reached".to_owned())
        };
        let refusal = table.refusal(path).map(|refusal| refusal.to_string());
        Path {
            path_id: path.path_id(),
            best: table.best(prefix).first().is_some_and(same),
            selected: table.best(prefix).iter().any(same),
            stale: path.is_stale(),
            refused: refusal.or_else(unreachable),
            ..row(prefix, path.received(), Some(name.to_owned()))
        }
    };
    sorted(table.received(from).map(row).collect())
}

/// What a BGP peer was told, by prefix.
pub(crate) fn advertised(speaker: &Speaker, to: PeerId, name: &str) -> Vec<Path> {
    let families = Family::ALL.into_iter();
    let sent = families.flat_map(|family| speaker.exports().sent(to, family));
    let rows = sent.map(|(nlri, attributes)| Path {
        path_id: nlri.path_id,
        ..row(&nlri.prefix, attributes, Some(name.to_owned()))
    });
    sorted(rows.collect())
}

fn sorted(mut rows: Vec<Path>) -> Vec<Path> {
    rows.sort_by_key(|row| (row.prefix, row.path_id));
    rows
}

fn row(prefix: &IpNet, attributes: &Attributes, peer: Option<String>) -> Path {
    let large =
        |(administrator, one, other): &(u32, u32, u32)| format!("{administrator}:{one}:{other}");
    Path {
        prefix: *prefix,
        path_id: 0,
        peer,
        next_hop: attributes.next_hop,
        as_path: as_path(&attributes.as_path),
        origin: match attributes.origin {
            Origin::Igp => "IGP",
            Origin::Egp => "EGP",
            Origin::Incomplete => "incomplete",
        }
        .to_owned(),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: attributes
            .communities
            .iter()
            .map(|one| words(*one))
            .collect(),
        large_communities: attributes.large_communities.iter().map(large).collect(),
        best: false,
        selected: false,
        stale: false,
        refused: None,
    }
}

fn as_path(path: &[Segment]) -> String {
    let join = |ases: &[u32]| {
        let ases: Vec<String> = ases.iter().map(u32::to_string).collect();
        ases.join(" ")
    };
    let segments: Vec<String> = path
        .iter()
        .map(|segment| match segment {
            Segment::Sequence(ases) => join(ases),
            Segment::Set(ases) => format!("{{{}}}", join(ases)),
        })
        .collect();
    segments.join(" ")
}

fn words(one: u32) -> String {
    match one {
        community::NO_EXPORT => "no-export".to_owned(),
        community::NO_ADVERTISE => "no-advertise".to_owned(),
        community::NO_EXPORT_SUBCONFED => "no-export-subconfed".to_owned(),
        community::LLGR_STALE => "llgr-stale".to_owned(),
        community::NO_LLGR => "no-llgr".to_owned(),
        _ => format!("{}:{}", one >> 16, one & 0xffff),
    }
}
