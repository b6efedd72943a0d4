//! Which addresses can be the node's.

use std::fmt;
use std::net::IpAddr;

use super::facts::{AddressFacts, Facts, LinkFacts};

/// Why an address was not chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its device belongs to pods, a container runtime or another network.
    PodDevice,
    /// Its device is a tunnel, or has no wire; of this kind.
    Tunnel(String),
    /// Its device is down or has no carrier.
    Down,
    /// It is valid on one link or on this node only.
    Scope,
    /// It is not (yet) known to be unique.
    Tentative,
    /// It is not to be used for new connections.
    Deprecated,
    /// It is temporary.
    Temporary,
    /// It came second in its subnet, as a floating address does.
    Secondary,
    /// It has a label, as a floating address does.
    Labelled(String),
    /// It stands alone beside an address with a subnet, as a floating address does.
    Floating,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PodDevice => "its device is one of pods, a container runtime or another network",
            Self::Tunnel(kind) => return write!(f, "its device is of kind {kind}"),
            Self::Down => "its device is down",
            Self::Scope => "it is not valid beyond the link",
            Self::Tentative => "it is tentative or a duplicate",
            Self::Deprecated => "it is deprecated",
            Self::Temporary => "it is temporary",
            Self::Secondary => "it is secondary, as floating addresses are",
            Self::Labelled(label) => {
                return write!(f, "it has the label {label}, as floating addresses have");
            }
            Self::Floating => {
                "it has no subnet and stands beside one that has, as floating addresses do"
            }
        })
    }
}

/// Why this address cannot be the node's, if it cannot. `named`: this very address was
/// asked for, so that it may be a floating one.
pub(super) fn refusal(facts: &Facts, found: &AddressFacts, named: bool) -> Option<Refusal> {
    const LINK: u8 = 253;
    let address = found.address.addr();
    if found.scope >= LINK || is_local(address) {
        return Some(Refusal::Scope);
    }
    if found.tentative {
        return Some(Refusal::Tentative);
    }
    if named {
        return None;
    }
    if found.deprecated {
        return Some(Refusal::Deprecated);
    }
    if found.temporary {
        return Some(Refusal::Temporary);
    }
    if found.secondary {
        return Some(Refusal::Secondary);
    }
    if let Some(label) = &found.label {
        return Some(Refusal::Labelled(label.clone()));
    }
    floats(facts, found).then_some(Refusal::Floating)
}

/// A whole address that somebody set beside an ordinary one, on whichever device. DHCPv6
/// gives out whole addresses too; those expire. Some clouds give each node nothing but a
/// whole address: then there is none beside it.
fn floats(facts: &Facts, found: &AddressFacts) -> bool {
    let whole = |other: &AddressFacts| other.address.prefix_len() == other.address.max_prefix_len();
    let beside = |other: &AddressFacts| {
        other.device == found.device
            && other.address.addr().is_ipv4() == found.address.addr().is_ipv4()
            && other.address != found.address
            && !is_local(other.address.addr())
            && (!whole(other) || other.expires)
    };
    whole(found) && !found.expires && facts.addresses.iter().any(beside)
}

fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
        }
    }
}

/// The device of an address.
pub(super) fn link_of<'a>(facts: &'a Facts, found: &AddressFacts) -> Option<&'a LinkFacts> {
    facts.links.iter().find(|link| link.name == found.device)
}
