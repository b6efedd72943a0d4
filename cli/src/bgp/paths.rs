//! Paths to prefixes, as the agent of a node tells them.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use crate::text::{Fit, Item, Tone, table};

/// One path to a prefix.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Path {
    /// The prefix.
    pub prefix: IpNet,
    /// Which of several of the same BGP peer (RFC 7911).
    pub path_id: u32,
    /// Where it came from or goes to; none: from this node.
    pub peer: Option<String>,
    /// The next hop.
    pub next_hop: IpAddr,
    /// The ASes on the way.
    pub as_path: String,
    /// `IGP`, `EGP` or `incomplete`.
    pub origin: String,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities.
    pub communities: Vec<String>,
    /// Large communities.
    pub large_communities: Vec<String>,
    /// The best.
    pub best: bool,
    /// Used, as the best or beside it.
    pub selected: bool,
    /// Said in a session that has ended.
    pub stale: bool,
    /// Why it isn't used.
    pub refused: Option<String>,
}

/// The answer as text of lines of at most `width`.
pub fn render(paths: &[Path], width: u16) -> String {
    if paths.is_empty() {
        return "No routes.\n".into();
    }
    let columns = [
        ("PREFIX", Fit::Whole),
        ("NEXT HOP", Fit::Whole),
        ("BGP PEER", Fit::Shorten),
        ("AS PATH", Fit::Shorten),
        ("STATE", Fit::Wrap),
    ];
    let row = |path: &Path| {
        let (state, tone) = state(path);
        vec![
            Item::plain(path.prefix.to_string()),
            Item::plain(path.next_hop.to_string()),
            Item::plain(path.peer.clone().unwrap_or_default()),
            Item::plain(&path.as_path),
            Item::new(state, tone),
        ]
    };
    table(&columns, paths.iter().map(row).collect(), width)
}

fn state(path: &Path) -> (String, Tone) {
    if let Some(why) = &path.refused {
        return (format!("refused: {why}"), Tone::Bad);
    }
    let words = [
        (path.best, "best"),
        (path.selected && !path.best, "used"),
        (path.stale, "stale"),
    ];
    let words: Vec<&str> = words
        .iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, word)| *word)
        .collect();
    (words.join(", "), Tone::Plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_refused_says_why() {
        let path = |prefix: &str, best: bool, refused: Option<&str>| {
            json!({
                "prefix": prefix, "path_id": 0, "peer": "BGPPeer rack-a", "next_hop": "192.0.2.254", "as_path": "64900",
                "origin": "IGP", "local_pref": null, "med": null, "communities": [], "large_communities": [],
                "best": best, "selected": best, "stale": false, "refused": refused,
            })
        };
        let paths: Vec<Path> = serde_json::from_value(json!([
            path("10.244.3.0/26", true, None),
            path("10.244.0.0/16", false, Some("the import policy rejects it")),
        ]))
        .unwrap();
        insta::assert_snapshot!(render(&paths, 80));
        assert_eq!(render(&[], 80), "No routes.\n");
    }
}
