//! What the BGP peers of a measured daemon send, as bytes.

use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use weft_bgp::route::{Attributes, Family, Nlri, Update};
use weft_bgp::wire::{MAX, PerFamily, Receive, Transmit, encode};

use super::ASN;

/// Of IPv4 alone, with AS numbers of four octets.
pub const RECEIVE: Receive = Receive {
    external: false,
    first_as: None,
    as4: true,
    families: IPV4,
    add_path: NONE,
    extended_next_hop: false,
};
const TRANSMIT: Transmit = Transmit {
    as4: true,
    add_path: NONE,
    extended_next_hop: false,
    families: IPV4,
    max: MAX,
};
const IPV4: PerFamily<bool> = PerFamily {
    ipv4: true,
    ipv6: false,
};
const NONE: PerFamily<bool> = PerFamily {
    ipv4: false,
    ipv6: false,
};
/// How many prefixes have the same attributes.
const ALIKE: usize = 8;

/// An OPEN (RFC 4271, section 4.2) that offers IPv4 and AS numbers of four octets. It asks for no KEEPALIVEs.
pub fn open(id: Ipv4Addr) -> Vec<u8> {
    let asn = ASN.to_be_bytes();
    let capabilities = [&[1, 4, 0, 1, 0, 1, 65, 4], &asn[..]].concat();
    let mut body = vec![4, asn[2], asn[3], 0, 0];
    body.extend(id.octets());
    body.extend([capabilities.len() as u8 + 2, 2, capabilities.len() as u8]);
    body.extend(capabilities);
    message(1, &body)
}

/// A KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    message(4, &[])
}

/// An End-of-RIB of IPv4 (RFC 4724, section 2).
pub fn end_of_rib() -> Vec<u8> {
    message(2, &[0; 4])
}

/// The prefix with this number.
pub fn prefix(number: usize) -> IpNet {
    let first = u32::from(Ipv4Addr::new(20, 0, 0, 0));
    let address = Ipv4Addr::from(first + (u32::try_from(number).unwrap_or_default() << 8));
    Ipv4Net::new_assert(address, 24).into()
}

/// UPDATEs that announce the prefixes with these numbers, eight with the same attributes each.
pub fn announce(numbers: std::ops::Range<usize>, next_hop: Ipv4Addr) -> Vec<u8> {
    let all: Vec<usize> = numbers.collect();
    let updates = all.chunks(ALIKE).map(|numbers| {
        let group = u32::try_from(numbers[0] / ALIKE).unwrap_or_default();
        let path = [
            64600 + group % 100,
            65000 + group % 499,
            4_200_000_000 + group,
        ];
        let attributes = Attributes {
            local_pref: Some(100),
            communities: vec![(64600 << 16) | (group & 0xffff)],
            ..Attributes::plain(next_hop.into(), &path)
        };
        update(numbers, Some(attributes))
    });
    bytes(&updates.collect::<Vec<_>>())
}

/// An UPDATE that withdraws one.
pub fn withdraw(number: usize) -> Vec<u8> {
    bytes(&[update(&[number], None)])
}

fn update(numbers: &[usize], attributes: Option<Attributes>) -> Update {
    let nlri = |number: &usize| Nlri {
        prefix: prefix(*number),
        path_id: 0,
    };
    let nlri: Vec<Nlri> = numbers.iter().map(nlri).collect();
    let (withdrawn, announced) = match attributes {
        Some(attributes) => (Vec::new(), Some((Arc::new(attributes), nlri))),
        None => (nlri, None),
    };
    Update {
        family: Family::Ipv4,
        withdrawn,
        announced,
    }
}

fn bytes(updates: &[Update]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(updates, &TRANSMIT, &mut out);
    out
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap_or(u16::MAX);
    let mut message = vec![0xff; 16];
    message.extend(length.to_be_bytes());
    message.push(kind);
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_bgp::wire::{Framer, Kind, decode};

    #[test]
    fn what_is_announced_is_what_was_asked_for() {
        let mut framer = Framer::new(MAX);
        framer.push(&announce(5..30, Ipv4Addr::new(10, 0, 0, 1)));
        let mut seen = Vec::new();
        while let Some(frame) = framer.pop().unwrap() {
            assert_eq!(frame.kind, Kind::Update);
            for update in decode(frame.body, &RECEIVE).unwrap().updates {
                seen.extend(
                    update
                        .announced
                        .unwrap()
                        .1
                        .into_iter()
                        .map(|nlri| nlri.prefix),
                );
            }
        }
        assert_eq!(seen, (5..30).map(prefix).collect::<Vec<_>>());
    }

    #[test]
    fn messages_have_the_lengths_of_their_types() {
        let mut framer = Framer::new(MAX);
        for bytes in [
            open(Ipv4Addr::LOCALHOST),
            keepalive(),
            end_of_rib(),
            withdraw(3),
        ] {
            framer.push(&bytes);
        }
        let kinds: Vec<Kind> =
            std::iter::from_fn(|| framer.pop().unwrap().map(|frame| frame.kind)).collect();
        assert_eq!(
            kinds,
            [Kind::Open, Kind::Keepalive, Kind::Update, Kind::Update]
        );
    }
}
