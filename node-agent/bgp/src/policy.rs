//! Filters of routes as values: which routes pass, and what is changed in those that do.

mod edit;
pub mod ranges;
#[cfg(test)]
mod tests;

pub use edit::{Edit, Edits};
use ipnet::IpNet;

use crate::route::{Attributes, Family, LargeCommunity, Segment};

/// Rules in the order in which they are tried. What none of them accepts is rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// If all matches hold (none: always), the edits, and then what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What must all hold of the route as it was before any rule changed it.
    pub when: Vec<Match>,
    /// What is changed in the route if it is accepted in the end.
    pub edits: Vec<Edit>,
    /// Whether this rule is the last.
    pub then: Then,
}

/// What happens after a rule that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// The route passes, with the edits of this rule and of all that matched before it.
    Accept,
    /// The route does not pass.
    Reject,
    /// The next rule is tried.
    Continue,
}

/// Something that is true of a route or isn't.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// Its prefix is of this family.
    Family(Family),
    /// Its prefix is in one of these.
    Within(Vec<PrefixRange>),
    /// Its prefix is inside one of these, or one of these is inside it.
    Overlaps(Vec<IpNet>),
    /// This AS is anywhere in its path.
    PathContains(u32),
    /// The path ends in a sequence that ends with this AS.
    Originates(u32),
    /// The path starts with a sequence that starts with this AS.
    Neighbour(u32),
    /// It has this community.
    Community(u32),
    /// It has this large community.
    LargeCommunity(LargeCommunity),
}

/// The prefixes inside `net` whose lengths are from `min` to `max` bits, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixRange {
    /// What they are inside of; may be one of them.
    pub net: IpNet,
    /// The shortest.
    pub min: u8,
    /// The longest.
    pub max: u8,
}

impl PrefixRange {
    /// `net` and everything in it.
    pub fn all_of(net: IpNet) -> Self {
        Self {
            net,
            min: net.prefix_len(),
            max: net.max_prefix_len(),
        }
    }

    /// `net` and nothing else.
    pub fn only(net: IpNet) -> Self {
        Self {
            net,
            min: net.prefix_len(),
            max: net.prefix_len(),
        }
    }

    fn contains(&self, prefix: &IpNet) -> bool {
        (self.min..=self.max).contains(&prefix.prefix_len()) && self.net.contains(prefix)
    }
}

impl Rule {
    /// A rule without edits.
    pub fn new(when: Vec<Match>, then: Then) -> Self {
        Self {
            when,
            edits: Vec::new(),
            then,
        }
    }
}

impl Policy {
    /// The policy of these rules.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// Every route, as it is.
    pub fn accept_all() -> Self {
        Self::new(vec![Rule::new(Vec::new(), Then::Accept)])
    }

    /// What is to be changed in this route, or `None` if it is rejected.
    ///
    /// Every rule sees the route as it came: so the outcome for many prefixes with the same attributes is one of a
    /// few lists of edits, each of which need be applied once only.
    pub fn judge(&self, prefix: &IpNet, attributes: &Attributes) -> Option<Edits<'_>> {
        let mut edits = Edits::default();
        for rule in &self.rules {
            if !rule.when.iter().all(|one| one.holds(prefix, attributes)) {
                continue;
            }
            match rule.then {
                Then::Reject => return None,
                Then::Accept => {
                    edits.extend(&rule.edits);
                    return Some(edits);
                }
                Then::Continue => edits.extend(&rule.edits),
            }
        }
        None
    }
}

impl Match {
    fn holds(&self, prefix: &IpNet, attributes: &Attributes) -> bool {
        match self {
            Self::Family(family) => Family::of(prefix) == *family,
            Self::Within(ranges) => ranges.iter().any(|range| range.contains(prefix)),
            Self::Overlaps(nets) => nets
                .iter()
                .any(|net| net.contains(prefix) || prefix.contains(net)),
            Self::PathContains(asn) => attributes.path_count(*asn) > 0,
            Self::Originates(asn) => match attributes.as_path.last() {
                Some(Segment::Sequence(ases)) => ases.last() == Some(asn),
                _ => false,
            },
            Self::Neighbour(asn) => attributes.neighbour() == Some(*asn),
            Self::Community(community) => attributes.communities.binary_search(community).is_ok(),
            Self::LargeCommunity(community) => attributes
                .large_communities
                .binary_search(community)
                .is_ok(),
        }
    }
}
