//! Comments on rules. They say what a rule is for, hold a hash of it, and, on the first
//! rule, what the rules were made from. The kernel keeps them with the rule, so a rule
//! put there by hand is told from ours.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::layout::RuleLayout;
use super::value::NftTable;

/// Type of the comment in nft's own format of a rule's user data.
const COMMENT: u8 = 0;

/// The comment of rule number `index`.
pub(super) fn comment(table: &NftTable, index: usize, rule: &RuleLayout) -> String {
    let hash = hash(rule.expressions.0.body());
    let made_from = if index == 0 {
        made_from(table)
    } else {
        String::new()
    };
    format!("{}; weft {hash:016x}{made_from}", rule.purpose)
}

fn made_from(table: &NftTable) -> String {
    let mut text = format!("; mark {:#x}", table.masquerade_mark);
    if let Some(v4) = table.node_v4 {
        text.push_str(&format!("; v4 {v4}"));
    }
    if let Some(v6) = table.node_v6 {
        text.push_str(&format!("; v6 {v6}"));
    }
    if table.ipv4_sources {
        text.push_str("; IPv4 sources");
    }
    text
}

/// Reads what the rules were made from: mark, node pod addresses, whether IPv4 sources are checked.
pub(super) fn parse(comment: &str) -> Option<(u32, Option<Ipv4Addr>, Option<Ipv6Addr>, bool)> {
    let mut found = (None, None, None, false);
    for part in comment.split("; ") {
        match part.split_once(' ') {
            Some(("mark", mark)) => {
                found.0 = u32::from_str_radix(mark.strip_prefix("0x")?, 16).ok();
            }
            Some(("v4", v4)) => found.1 = v4.parse().ok(),
            Some(("v6", v6)) => found.2 = v6.parse().ok(),
            Some(("IPv4", "sources")) => found.3 = true,
            _ => {}
        }
    }
    Some((found.0?, found.1, found.2, found.3))
}

/// A comment in nft's format: type, length, text with its zero.
pub(super) fn encode(comment: &str) -> Vec<u8> {
    let mut bytes = vec![COMMENT, comment.len() as u8 + 1];
    bytes.extend_from_slice(comment.as_bytes());
    bytes.push(0);
    bytes
}

/// The comment in a rule's user data.
pub(super) fn decode(userdata: &[u8]) -> Option<String> {
    let (head, rest) = userdata.split_at_checked(2)?;
    let text = rest.get(..usize::from(head[1]))?;
    (head[0] == COMMENT).then(|| crate::netlink::text(text))
}

/// FNV-1a, 64 bits: the same in every build.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
