//! Who has which address: the journal's meaning, without its file.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Attachment, AttachmentId, Error, HostPort, NodeConfig, Record};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `ip`.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// How full a block is, in addresses that pods may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Used by an attachment.
    pub used: usize,
    /// Not used.
    pub free: usize,
}

/// Attachments and addresses, as the lines of a journal leave them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    live: BTreeMap<AttachmentId, Attachment>,
    owner: BTreeMap<IpAddr, AttachmentId>,
    freed: BTreeMap<IpAddr, u64>,
    turn: u64,
}

impl Ledger {
    /// The state after all of `records`, in their order.
    pub fn replay(records: impl IntoIterator<Item = Record>) -> Self {
        let mut ledger = Self::default();
        for record in records {
            ledger.apply(record);
        }
        ledger
    }

    /// One more line. Total: any order of any lines has a meaning, in which no address has two owners.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Attach(attachment) => {
                self.end(&attachment.id);
                for ip in &attachment.addresses {
                    // An address is given out again only when its owner has ended. If that line was lost,
                    // this one still says so.
                    if let Some(before) = self.owner.get(ip).cloned() {
                        self.end(&before);
                    }
                    self.freed.remove(ip);
                    self.owner.insert(*ip, attachment.id.clone());
                }
                self.live.insert(attachment.id.clone(), *attachment);
            }
            Record::Detach { id, .. } => self.end(&id),
            Record::Freed(addresses) => {
                for ip in addresses {
                    if !self.owner.contains_key(&ip) {
                        self.free(ip);
                    }
                }
            }
        }
    }

    fn end(&mut self, id: &AttachmentId) {
        for ip in self
            .live
            .remove(id)
            .into_iter()
            .flat_map(|gone| gone.addresses)
        {
            self.owner.remove(&ip);
            self.free(ip);
        }
    }

    fn free(&mut self, ip: IpAddr) {
        self.turn += 1;
        self.freed.insert(ip, self.turn);
    }

    /// The lines that say the same with nothing superfluous. Addresses that `keep` refuses (those of blocks that
    /// the node no longer has) are forgotten when free.
    pub fn compacted(&self, keep: impl Fn(IpAddr) -> bool) -> Vec<Record> {
        let mut freed: Vec<(u64, IpAddr)> = self
            .freed
            .iter()
            .filter(|(ip, _)| keep(**ip))
            .map(|(ip, turn)| (*turn, *ip))
            .collect();
        freed.sort_unstable();
        let freed = Record::Freed(freed.into_iter().map(|(_, ip)| ip).collect());
        let live = self
            .live
            .values()
            .cloned()
            .map(Box::new)
            .map(Record::Attach);
        std::iter::once(freed).chain(live).collect()
    }

    /// All attachments, ordered by id.
    pub fn attachments(&self) -> impl ExactSizeIterator<Item = &Attachment> {
        self.live.values()
    }

    /// The attachment of this id.
    pub fn get(&self, id: &AttachmentId) -> Option<&Attachment> {
        self.live.get(id)
    }

    /// Who has this address.
    pub fn owner(&self, ip: IpAddr) -> Option<&Attachment> {
        self.live.get(self.owner.get(&ip)?)
    }

    /// Who has a port of the node that overlaps `port`, other than `except`.
    pub fn port_owner(&self, port: &HostPort, except: &AttachmentId) -> Option<&Attachment> {
        self.live.values().find(|attachment| {
            attachment.id != *except && attachment.host_ports.iter().any(|p| p.overlaps(port))
        })
    }

    /// How full `block` is.
    pub fn usage(&self, node: &NodeConfig, block: IpNet) -> Usage {
        let mut usage = Usage::default();
        for ip in node.addresses(block) {
            match self.owner.contains_key(&ip) {
                true => usage.used += 1,
                false => usage.free += 1,
            }
        }
        usage
    }

    /// One free address of each family that the node has blocks of, IPv4 first: one never used if there is, in
    /// the blocks' order, else the one that has been free longest.
    pub fn pick(&self, node: &NodeConfig) -> Result<Vec<IpAddr>, Error> {
        let picked: Vec<IpAddr> = node
            .families()
            .map(|family| self.pick_one(node, family))
            .collect::<Result<_, _>>()?;
        if picked.is_empty() {
            return Err(Error::NoBlocks);
        }
        Ok(picked)
    }

    fn pick_one(&self, node: &NodeConfig, family: Family) -> Result<IpAddr, Error> {
        let blocks: Vec<IpNet> = node
            .blocks
            .iter()
            .filter(|block| block.allocatable && Family::of(block.cidr.addr()) == family)
            .map(|block| block.cidr)
            .collect();
        let mut longest: Option<(u64, IpAddr)> = None;
        for ip in blocks.iter().flat_map(|block| node.addresses(*block)) {
            if self.owner.contains_key(&ip) {
                continue;
            }
            match self.freed.get(&ip) {
                None => return Ok(ip),
                Some(turn) => {
                    longest = Some(longest.map_or((*turn, ip), |best| best.min((*turn, ip))));
                }
            }
        }
        longest.map(|(_, ip)| ip).ok_or_else(|| Error::Full {
            family,
            blocks: match blocks.is_empty() {
                true => "none".to_owned(),
                false => blocks
                    .iter()
                    .map(IpNet::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            },
        })
    }
}

#[cfg(test)]
mod tests;
