//! The datagram of a UDP flow: a header of 52 bytes, a body, one CRC over both.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | `WFT1` |
//! | 4 | kind |
//! | 5 | 1: the answer must have DF set; 2: it may be shortened to fit the MTU |
//! | 6..8 | 0 |
//! | 8..16 | flow, chosen at random by the client |
//! | 16..24 | sequence number |
//! | 24..32 | when the client sent it, ns of its own clock |
//! | 32..36 | time since the client sent the one before, us |
//! | 36..44 | different numbers of this flow that the server has received |
//! | 44..48 | interval at which the client means to send, us |
//! | 48..52 | CRC-32 of body and header (without itself) |
//!
//! Numbers are big-endian.

use crc32fast::Hasher;
use thiserror::Error;

/// Bytes of the header; no datagram is shorter.
pub const HEADER: usize = 52;
const CRC_AT: usize = 48;
const MAGIC: &[u8; 4] = b"WFT1";

/// What a datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A numbered packet to be sent back.
    Data,
    /// A numbered packet that came back.
    Echo,
    /// Asks what the server has counted of this flow; also tells whether it is there.
    Query,
    /// The answer: the body is a [`crate::sink::Received`] as JSON.
    Answer,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Data => 1,
            Kind::Echo => 2,
            Kind::Query => 3,
            Kind::Answer => 4,
        }
    }

    fn of(code: u8) -> Option<Self> {
        [Kind::Data, Kind::Echo, Kind::Query, Kind::Answer]
            .into_iter()
            .find(|kind| kind.code() == code)
    }
}

/// The header of a datagram, without its CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is for.
    pub kind: Kind,
    /// Whether the answer must have DF set.
    pub df: bool,
    /// Whether the server may leave the body out of the answer where its MTU is too small for it.
    pub fit: bool,
    /// The flow it belongs to.
    pub flow: u64,
    /// Its number, from 0.
    pub seq: u64,
    /// When the client sent it: nanoseconds of a clock that only the client reads.
    pub sent_ns: u64,
    /// Time since the client sent the one before, in microseconds.
    pub pause_us: u32,
    /// Different numbers of this flow that the server has received.
    pub peer_received: u64,
    /// The interval at which the client means to send, in microseconds.
    pub interval_us: u32,
}

/// A datagram that is not what any sender made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("datagram is damaged: too short, of no known kind, or its CRC is wrong")]
pub struct Damaged;

/// The CRC of a body, to which the header's is added: a body that never changes is summed once.
pub fn body_crc(body: &[u8]) -> Hasher {
    let mut crc = Hasher::new();
    crc.update(body);
    crc
}

/// Writes `header` and the CRC to the start of `datagram`, whose body has the CRC `body`.
pub fn seal(datagram: &mut [u8], header: &Header, body: &Hasher) {
    datagram[0..4].copy_from_slice(MAGIC);
    datagram[4] = header.kind.code();
    datagram[5] = u8::from(header.df) | u8::from(header.fit) << 1;
    datagram[6..8].fill(0);
    datagram[8..16].copy_from_slice(&header.flow.to_be_bytes());
    datagram[16..24].copy_from_slice(&header.seq.to_be_bytes());
    datagram[24..32].copy_from_slice(&header.sent_ns.to_be_bytes());
    datagram[32..36].copy_from_slice(&header.pause_us.to_be_bytes());
    datagram[36..44].copy_from_slice(&header.peer_received.to_be_bytes());
    datagram[44..48].copy_from_slice(&header.interval_us.to_be_bytes());
    let mut crc = body.clone();
    crc.update(&datagram[..CRC_AT]);
    datagram[CRC_AT..HEADER].copy_from_slice(&crc.finalize().to_be_bytes());
}

/// Checks a whole datagram. The second value is the CRC of its body, for [`seal`].
pub fn open(datagram: &[u8]) -> Result<(Header, Hasher), Damaged> {
    if datagram.len() < HEADER || &datagram[0..4] != MAGIC {
        return Err(Damaged);
    }
    let body = body_crc(&datagram[HEADER..]);
    let mut crc = body.clone();
    crc.update(&datagram[..CRC_AT]);
    if crc.finalize() != u32_at(datagram, CRC_AT) {
        return Err(Damaged);
    }
    let header = Header {
        kind: Kind::of(datagram[4]).ok_or(Damaged)?,
        df: datagram[5] & 1 != 0,
        fit: datagram[5] & 2 != 0,
        flow: u64_at(datagram, 8),
        seq: u64_at(datagram, 16),
        sent_ns: u64_at(datagram, 24),
        pause_us: u32_at(datagram, 32),
        peer_received: u64_at(datagram, 36),
        interval_us: u32_at(datagram, 44),
    };
    if header.seq == u64::MAX {
        return Err(Damaged);
    }
    Ok((header, body))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_be_bytes(value)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram() -> (Vec<u8>, Header) {
        let header = Header {
            kind: Kind::Data,
            df: true,
            fit: false,
            flow: 0x1122_3344_5566_7788,
            seq: 42,
            sent_ns: 1_000_000_007,
            pause_us: 500,
            peer_received: 41,
            interval_us: 1000,
        };
        let mut datagram = vec![0; HEADER + 37];
        crate::stream::fill(3, 0, &mut datagram[HEADER..]);
        let body = body_crc(&datagram[HEADER..]);
        seal(&mut datagram, &header, &body);
        (datagram, header)
    }

    #[test]
    fn what_was_sealed_opens() {
        let (datagram, header) = datagram();
        let (opened, _) = open(&datagram).expect("intact");
        assert_eq!(opened, header);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let (mut datagram, _) = datagram();
        for bit in 0..datagram.len() * 8 {
            datagram[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&datagram).err(), Some(Damaged), "bit {bit}");
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn any_cut_is_noticed() {
        let (datagram, _) = datagram();
        for length in 0..datagram.len() {
            assert_eq!(open(&datagram[..length]).err(), Some(Damaged), "{length}");
        }
    }

    #[test]
    fn an_echo_sealed_with_the_crc_of_the_opened_body_opens() {
        let (mut datagram, header) = datagram();
        let (_, body) = open(&datagram).expect("intact");
        let echo = Header {
            kind: Kind::Echo,
            peer_received: 42,
            ..header
        };
        seal(&mut datagram, &echo, &body);
        assert_eq!(open(&datagram).expect("intact").0, echo);
    }
}
