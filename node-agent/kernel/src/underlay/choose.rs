//! Choosing the node's address.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::candidate::{self, Refusal, link_of};
use super::device;
use super::facts::{AddressFacts, Facts, LinkFacts};
use crate::names::DeviceName;
use crate::state::Family;

/// How to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// These very addresses: the InternalIPs of the Node object.
    NodeInternalIp(Vec<IpAddr>),
    /// An address inside one of these ranges, the first that fits.
    Cidr(Vec<IpNet>),
    /// The address of the first device whose name is, or matches, one of these (`*`, `?`).
    Interface(Vec<String>),
    /// The address of the device that leads to this address.
    CanReach(IpAddr),
}

/// The node's address in the underlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// The device that has the address (that of IPv4 if they are on two).
    pub device: DeviceName,
    /// MTU of that device in bytes, the lesser of two.
    pub mtu: u32,
    /// IPv4 address with its prefix length.
    pub v4: Option<Ipv4Net>,
    /// IPv6 address with its prefix length.
    pub v6: Option<Ipv6Net>,
}

/// No address fits.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what}{}", looked_at(.refused))]
pub struct ChooseError {
    /// What was looked for in vain, and what to do.
    pub what: String,
    /// What was found instead, and why it was not taken.
    pub refused: Vec<(DeviceName, IpNet, Refusal)>,
}

fn looked_at(refused: &[(DeviceName, IpNet, Refusal)]) -> impl fmt::Display {
    let each = refused
        .iter()
        .map(|(device, address, why)| format!("{address} on {device}: {why}"));
    let all = each.collect::<Vec<_>>().join("; ");
    if all.is_empty() {
        all
    } else {
        format!(". Not taken: {all}")
    }
}

/// Chooses the node's address. Floating addresses (secondary, labelled, whole ones beside a
/// subnet) are taken only if [`Method::NodeInternalIp`] asks for them, or
/// [`Method::Interface`] names a device that has no others; devices of pods never.
pub fn choose_address(method: &Method, facts: &Facts) -> Result<NodeAddress, ChooseError> {
    let mut search = Search {
        facts,
        refused: Vec::new(),
    };
    let found = match method {
        Method::NodeInternalIp(addresses) => search.these(addresses),
        Method::Cidr(ranges) => Family::BOTH.map(|family| search.within(ranges, family)),
        Method::Interface(patterns) => search.on_interface(patterns),
        Method::CanReach(address) => search.towards(*address),
    };
    search.answer(found).ok_or_else(|| {
        let what = complaint(method, facts);
        search.refused.dedup();
        ChooseError {
            what,
            refused: search.refused,
        }
    })
}

struct Search<'f> {
    facts: &'f Facts,
    refused: Vec<(DeviceName, IpNet, Refusal)>,
}

/// The addresses found: IPv4, IPv6.
type Found<'f> = [Option<&'f AddressFacts>; 2];

impl<'f> Search<'f> {
    fn these(&mut self, addresses: &[IpAddr]) -> Found<'f> {
        Family::BOTH.map(|family| {
            let wanted = |found: &&AddressFacts| addresses.contains(&found.address.addr());
            let found = self.of_family(family).into_iter().filter(wanted);
            let found: Vec<_> = found.collect();
            found
                .into_iter()
                .find(|found| self.accept(found, true, false))
        })
    }

    fn within(&mut self, ranges: &[IpNet], family: Family) -> Option<&'f AddressFacts> {
        let all = self.of_family(family);
        let found = ranges.iter().flat_map(|range| {
            all.iter()
                .copied()
                .filter(|found| range.contains(&found.address.addr()))
        });
        let found: Vec<_> = found.collect();
        found
            .into_iter()
            .find(|found| self.accept(found, false, false))
    }

    fn on_interface(&mut self, patterns: &[String]) -> Found<'f> {
        for pattern in patterns {
            for link in &self.facts.links {
                if device::matches(pattern, link.name.as_str()) {
                    let found = self.on_device(link, device::is_name(pattern));
                    if found != [None, None] {
                        return found;
                    }
                }
            }
        }
        [None, None]
    }

    fn towards(&mut self, target: IpAddr) -> Found<'f> {
        let facts = self.facts;
        let Some(route) = &facts.route else {
            return [None, None];
        };
        let Some(link) = facts.links.iter().find(|link| link.name == route.device) else {
            return [None, None];
        };
        let mut found = self.on_device(link, false);
        // The kernel's own choice of source decides between several good ones.
        let family = Family::of(target);
        let source = self
            .of_family(family)
            .into_iter()
            .find(|found| Some(found.address.addr()) == route.source && found.device == link.name);
        if let Some(source) = source.filter(|source| self.accept(source, false, false)) {
            found[family as usize] = Some(source);
        }
        found
    }

    fn on_device(&mut self, link: &LinkFacts, named: bool) -> Found<'f> {
        Family::BOTH.map(|family| {
            let mut all = self.of_family(family);
            all.retain(|found| found.device == link.name);
            let ordinary = all
                .iter()
                .copied()
                .find(|found| self.accept(found, false, named));
            // Whoever names a device that has nothing but floating addresses means those.
            ordinary.or_else(|| {
                all.into_iter()
                    .find(|found| self.accept(found, named, named))
            })
        })
    }

    /// The addresses of a family, best first: those of the device with the default route;
    /// then as the kernel has them, except that it lists IPv6 addresses newest first.
    fn of_family(&self, family: Family) -> Vec<&'f AddressFacts> {
        let all = self.facts.addresses.iter();
        let mut all: Vec<_> = all
            .filter(|found| Family::of(found.address.addr()) == family)
            .collect();
        all.sort_by_key(|found| {
            let defaults = self.facts.default_routes.iter();
            let metric = defaults
                .filter(|route| route.family == family && route.device == found.device)
                .map(|route| route.metric)
                .min()
                .unwrap_or(u32::MAX);
            let settled = (family == Family::V6).then_some((found.expires, found.address));
            (metric, settled)
        });
        all
    }

    fn accept(&mut self, found: &AddressFacts, named: bool, named_device: bool) -> bool {
        let Some(link) = link_of(self.facts, found) else {
            return false;
        };
        let why = device::refusal(link, named || named_device)
            .or_else(|| candidate::refusal(self.facts, found, named));
        match why {
            Some(why) => {
                self.refused.push((found.device, found.address, why));
                false
            }
            None => true,
        }
    }

    fn answer(&self, found: Found<'f>) -> Option<NodeAddress> {
        let links = found
            .iter()
            .flatten()
            .filter_map(|found| link_of(self.facts, found));
        let mtu = links.map(|link| link.mtu).min()?;
        let device = found.iter().flatten().next()?.device;
        let mut answer = NodeAddress {
            device,
            mtu,
            v4: None,
            v6: None,
        };
        for found in found.into_iter().flatten() {
            match found.address {
                IpNet::V4(v4) => answer.v4 = Some(v4),
                IpNet::V6(v6) => answer.v6 = Some(v6),
            }
        }
        Some(answer)
    }
}

fn complaint(method: &Method, facts: &Facts) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match method {
        Method::NodeInternalIp(addresses) if addresses.is_empty() => {
            "the Node object has no InternalIP; set the kubelet's --node-ip".into()
        }
        Method::NodeInternalIp(addresses) => format!(
            "no usable device of this node has an InternalIP of its Node object ({}); \
             correct the kubelet's --node-ip, or choose another method",
            list(addresses.iter().map(ToString::to_string).collect())
        ),
        Method::Cidr(ranges) => format!(
            "no usable address of this node is inside {}",
            list(ranges.iter().map(ToString::to_string).collect())
        ),
        Method::Interface(patterns) => format!(
            "no device among {} has a usable address; there are {}",
            list(patterns.clone()),
            list(
                facts
                    .links
                    .iter()
                    .map(|link| link.name.to_string())
                    .collect()
            )
        ),
        Method::CanReach(address) => match &facts.route {
            None => format!("this node has no route to {address}"),
            Some(route) => {
                format!(
                    "{}, which leads to {address}, has no usable address",
                    route.device
                )
            }
        },
    }
}

#[cfg(test)]
mod tests;
