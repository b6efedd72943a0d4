//! Path attributes from bytes, one by one, with what RFC 7606 says of each defect.

use std::net::Ipv4Addr;

use super::as_path::{self, Width};
use super::bytes::Reader;
use super::multiprotocol::{self, Reach, Unreach};
use super::notification::error;
use super::open::AS_TRANS;
use super::{Notification, Receive};
use crate::route::{Aggregator, LargeCommunity, Opaque, Origin, Segment};

pub(super) const ORIGIN: u8 = 1;
pub(super) const AS_PATH: u8 = 2;
pub(super) const NEXT_HOP: u8 = 3;
pub(super) const MED: u8 = 4;
pub(super) const LOCAL_PREF: u8 = 5;
pub(super) const ATOMIC_AGGREGATE: u8 = 6;
pub(super) const AGGREGATOR: u8 = 7;
pub(super) const COMMUNITIES: u8 = 8;
pub(super) const ORIGINATOR_ID: u8 = 9;
pub(super) const CLUSTER_LIST: u8 = 10;
pub(super) const MP_REACH: u8 = 14;
pub(super) const MP_UNREACH: u8 = 15;
pub(super) const EXTENDED_COMMUNITIES: u8 = 16;
pub(super) const AS4_PATH: u8 = 17;
pub(super) const AS4_AGGREGATOR: u8 = 18;
const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
pub(super) const LARGE_COMMUNITIES: u8 = 32;

pub(super) const OPTIONAL: u8 = 0x80;
pub(super) const TRANSITIVE: u8 = 0x40;
pub(super) const PARTIAL: u8 = 0x20;
pub(super) const EXTENDED: u8 = 0x10;

/// What is done about a defect that doesn't end the session; the greater is the stronger (RFC 7606, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// The attribute is left out.
    Discard,
    /// The prefixes are taken as withdrawn.
    Withdraw,
}

/// A defect of an UPDATE that doesn't end the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// What was done about it.
    pub remedy: Remedy,
    /// What is wrong, in words.
    pub what: String,
    /// What the peer is told if the session has to end after all.
    pub(super) notification: Notification,
}

/// The attributes of one UPDATE as they came, each at most once.
#[derive(Default)]
pub(super) struct Attributes {
    pub(super) origin: Option<Origin>,
    pub(super) as_path: Option<Vec<Segment>>,
    pub(super) next_hop: Option<Ipv4Addr>,
    pub(super) med: Option<u32>,
    pub(super) local_pref: Option<u32>,
    pub(super) atomic_aggregate: bool,
    pub(super) aggregator: Option<Aggregator>,
    pub(super) communities: Vec<u32>,
    pub(super) large_communities: Vec<LargeCommunity>,
    pub(super) extended_communities: Vec<[u8; 8]>,
    pub(super) originator_id: Option<Ipv4Addr>,
    pub(super) cluster_list: Vec<Ipv4Addr>,
    pub(super) opaque: Vec<Opaque>,
    as4_path: Option<Vec<Segment>>,
    as4_aggregator: Option<Aggregator>,
    pub(super) reach: Option<Reach>,
    pub(super) unreach: Option<Unreach>,
    /// Whether MP_REACH_NLRI had prefixes, be it of a family that wasn't agreed on.
    pub(super) reachable: bool,
    /// Whether anything beside MP_UNREACH_NLRI was there.
    pub(super) others: bool,
    /// The strongest defect.
    pub(super) defect: Option<Defect>,
}

enum Fault {
    Defect(Remedy, error::Error, &'static str),
    Reset(error::Error),
}

fn withdraw<T>(error: error::Error, what: &'static str) -> Result<T, Fault> {
    Err(Fault::Defect(Remedy::Withdraw, error, what))
}

fn discard<T>(what: &'static str) -> Result<T, Fault> {
    Err(Fault::Defect(
        Remedy::Discard,
        error::OPTIONAL_ATTRIBUTE,
        what,
    ))
}

impl Attributes {
    /// Reads the list to its end. An error is a session reset, and what to say to the peer.
    pub(super) fn read(bytes: &[u8], receive: &Receive) -> Result<Self, Notification> {
        let mut attributes = Self::default();
        let mut seen = [false; 256];
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let whole = reader.rest();
            let Some((flags, code, value)) = split(&mut reader) else {
                // The rest of the list can't be told apart, but its end can (RFC 7606, section 4).
                attributes.add_defect(
                    Remedy::Withdraw,
                    error::MALFORMED_LIST,
                    "an attribute runs over the end",
                    whole,
                );
                attributes.others = true;
                break;
            };
            let whole = whole
                .get(..whole.len() - reader.rest().len())
                .unwrap_or_default();
            attributes.others |= code != MP_UNREACH;
            if std::mem::replace(&mut seen[usize::from(code)], true) {
                if matches!(code, MP_REACH | MP_UNREACH) {
                    return Err(Notification::new(error::MALFORMED_LIST));
                }
                attributes.add_defect(
                    Remedy::Discard,
                    error::MALFORMED_LIST,
                    "appears twice",
                    whole,
                );
                continue;
            }
            match attributes.add(flags, code, value, receive) {
                Ok(()) => {}
                Err(Fault::Defect(remedy, error, what)) => {
                    attributes.add_defect(remedy, error, what, whole)
                }
                Err(Fault::Reset(error)) => return Err(Notification::with_data(error, whole)),
            }
        }
        attributes.merge_as4();
        attributes.opaque.sort_by_key(|opaque| opaque.code);
        Ok(attributes)
    }

    /// Notes a defect of the attribute `whole`, unless a stronger one is known.
    pub(super) fn add_defect(
        &mut self,
        remedy: Remedy,
        error: error::Error,
        what: &str,
        whole: &[u8],
    ) {
        if self
            .defect
            .as_ref()
            .is_some_and(|defect| defect.remedy >= remedy)
        {
            return;
        }
        let name = whole
            .get(1)
            .map_or_else(String::new, |code| format!("{}: ", name(*code)));
        let notification = Notification::with_data(error, whole);
        self.defect = Some(Defect {
            remedy,
            what: format!("{name}{what}"),
            notification,
        });
    }

    fn add(&mut self, flags: u8, code: u8, value: &[u8], receive: &Receive) -> Result<(), Fault> {
        let kind = flags & (OPTIONAL | TRANSITIVE);
        match specified(code) {
            Some(specified) if specified == kind => {}
            Some(_) if matches!(code, MP_REACH | MP_UNREACH) => {
                return Err(Fault::Reset(error::ATTRIBUTE_FLAGS));
            }
            Some(_) => return withdraw(error::ATTRIBUTE_FLAGS, "wrong flags"),
            None if kind & OPTIONAL == 0 => {
                return Err(Fault::Reset(error::UNRECOGNIZED_WELL_KNOWN));
            }
            None => {}
        }
        match code {
            ORIGIN => self.origin = Some(origin(value)?),
            AS_PATH => self.as_path = Some(path(value, receive)?),
            NEXT_HOP => self.next_hop = Some(u32::from_be_bytes(sized(value)?).into()),
            MED => self.med = Some(u32::from_be_bytes(sized(value)?)),
            LOCAL_PREF | ORIGINATOR_ID | CLUSTER_LIST if receive.external => {
                return discard("not for eBGP");
            }
            LOCAL_PREF => self.local_pref = Some(u32::from_be_bytes(sized(value)?)),
            ATOMIC_AGGREGATE if value.is_empty() => self.atomic_aggregate = true,
            ATOMIC_AGGREGATE => return discard("not empty"),
            AGGREGATOR => self.aggregator = Some(aggregator(value, receive.width())?),
            COMMUNITIES => self.communities = set(value, u32::from_be_bytes)?,
            ORIGINATOR_ID => self.originator_id = Some(u32::from_be_bytes(sized(value)?).into()),
            CLUSTER_LIST => self.cluster_list = list(value, |id: [u8; 4]| id.into())?,
            MP_REACH => {
                let reset = Fault::Reset(error::OPTIONAL_ATTRIBUTE);
                (self.reachable, self.reach) = multiprotocol::reach(value, receive).ok_or(reset)?;
            }
            MP_UNREACH => {
                let reset = Fault::Reset(error::OPTIONAL_ATTRIBUTE);
                self.unreach = multiprotocol::unreach(value, receive).ok_or(reset)?;
            }
            EXTENDED_COMMUNITIES => {
                self.extended_communities = list(value, |community: [u8; 8]| community)?
            }
            AS4_PATH | AS4_AGGREGATOR if receive.as4 => {
                return discard("not between speakers of four octets");
            }
            AS4_PATH => match as_path::read_as4(value) {
                Ok(path) => self.as4_path = Some(path),
                Err(what) => return discard(what),
            },
            AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(value, Width::Four)?),
            LARGE_COMMUNITIES => self.large_communities = set(value, large_community)?,
            _ => {
                if code == IPV6_EXTENDED_COMMUNITIES {
                    list(value, |_: [u8; 20]| ())?;
                }
                if kind & TRANSITIVE != 0 {
                    let flags = flags & (OPTIONAL | TRANSITIVE | PARTIAL);
                    self.opaque.push(Opaque {
                        flags,
                        code,
                        value: value.to_vec(),
                    });
                }
            }
        }
        Ok(())
    }

    /// RFC 6793, section 4.2.3.
    fn merge_as4(&mut self) {
        let (path, aggregator) = (self.as4_path.take(), self.as4_aggregator.take());
        if let Some(Aggregator { asn, .. }) = self.aggregator
            && aggregator.is_some()
        {
            if asn != AS_TRANS.into() {
                return;
            }
            self.aggregator = aggregator;
        }
        if let (Some(old), Some(as4)) = (self.as_path.take_if(|_| path.is_some()), path) {
            self.as_path = Some(as_path::merge(old, as4));
        }
    }
}

/// Flags, code and value of the next attribute; `None` if it runs over the end.
fn split<'a>(reader: &mut Reader<'a>) -> Option<(u8, u8, &'a [u8])> {
    let (flags, code) = (reader.u8()?, reader.u8()?);
    let value = if flags & EXTENDED != 0 {
        reader.part16()
    } else {
        reader.part8()
    }?;
    Some((flags, code, value))
}

/// The optional and transitive bits that an attribute must have, if it is known here.
fn specified(code: u8) -> Option<u8> {
    Some(match code {
        ORIGIN | AS_PATH | NEXT_HOP | LOCAL_PREF | ATOMIC_AGGREGATE => TRANSITIVE,
        MED | ORIGINATOR_ID | CLUSTER_LIST | MP_REACH | MP_UNREACH => OPTIONAL,
        AGGREGATOR | COMMUNITIES | EXTENDED_COMMUNITIES | AS4_PATH | AS4_AGGREGATOR => {
            OPTIONAL | TRANSITIVE
        }
        IPV6_EXTENDED_COMMUNITIES | LARGE_COMMUNITIES => OPTIONAL | TRANSITIVE,
        _ => return None,
    })
}

fn name(code: u8) -> String {
    let name = match code {
        ORIGIN => "ORIGIN",
        AS_PATH => "AS_PATH",
        NEXT_HOP => "NEXT_HOP",
        MED => "MULTI_EXIT_DISC",
        LOCAL_PREF => "LOCAL_PREF",
        ATOMIC_AGGREGATE => "ATOMIC_AGGREGATE",
        AGGREGATOR => "AGGREGATOR",
        COMMUNITIES => "COMMUNITIES",
        ORIGINATOR_ID => "ORIGINATOR_ID",
        CLUSTER_LIST => "CLUSTER_LIST",
        MP_REACH => "MP_REACH_NLRI",
        MP_UNREACH => "MP_UNREACH_NLRI",
        EXTENDED_COMMUNITIES => "EXTENDED COMMUNITIES",
        AS4_PATH => "AS4_PATH",
        AS4_AGGREGATOR => "AS4_AGGREGATOR",
        IPV6_EXTENDED_COMMUNITIES => "IPv6 EXTENDED COMMUNITIES",
        LARGE_COMMUNITIES => "LARGE_COMMUNITY",
        _ => return format!("attribute {code}"),
    };
    name.to_owned()
}

fn sized<const N: usize>(value: &[u8]) -> Result<[u8; N], Fault> {
    value
        .try_into()
        .or_else(|_| withdraw(error::ATTRIBUTE_LENGTH, "wrong length"))
}

/// A list of at least one element.
fn list<const N: usize, T>(value: &[u8], element: impl Fn([u8; N]) -> T) -> Result<Vec<T>, Fault> {
    match value.as_chunks::<N>() {
        ([], _) | (_, [_, ..]) => withdraw(error::OPTIONAL_ATTRIBUTE, "wrong length"),
        (elements, []) => Ok(elements.iter().copied().map(element).collect()),
    }
}

/// A list whose order means nothing.
fn set<const N: usize, T: Ord>(
    value: &[u8],
    element: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, Fault> {
    let mut elements = list(value, element)?;
    elements.sort_unstable();
    elements.dedup();
    Ok(elements)
}

fn origin(value: &[u8]) -> Result<Origin, Fault> {
    match u8::from_be_bytes(sized(value)?) {
        0 => Ok(Origin::Igp),
        1 => Ok(Origin::Egp),
        2 => Ok(Origin::Incomplete),
        _ => withdraw(error::INVALID_ORIGIN, "unknown value"),
    }
}

fn path(value: &[u8], receive: &Receive) -> Result<Vec<Segment>, Fault> {
    let path = as_path::read(value, receive.width())
        .or_else(|what| withdraw(error::MALFORMED_AS_PATH, what))?;
    let first = match path.first() {
        Some(Segment::Sequence(ases)) => ases.first().copied(),
        _ => None,
    };
    match receive.first_as {
        Some(asn) if first != Some(receive.width().shown(asn)) => withdraw(
            error::MALFORMED_AS_PATH,
            "does not begin with the peer's AS",
        ),
        _ => Ok(path),
    }
}

fn aggregator(value: &[u8], width: Width) -> Result<Aggregator, Fault> {
    let mut reader = Reader::new(value);
    let asn = match width {
        Width::Two => reader.u16().map(u32::from),
        Width::Four => reader.u32(),
    };
    match (asn, reader.u32(), reader.is_empty()) {
        (Some(0), ..) => discard("AS 0"),
        (Some(asn), Some(id), true) => Ok(Aggregator { asn, id: id.into() }),
        _ => discard("wrong length"),
    }
}

fn large_community(value: [u8; 12]) -> LargeCommunity {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = value;
    (
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
        u32::from_be_bytes([i, j, k, l]),
    )
}
