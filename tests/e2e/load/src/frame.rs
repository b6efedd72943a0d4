//! What is said over a TCP connection: a header of 32 bytes, and for requests a body.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | `WFT2` |
//! | 4 | kind |
//! | 5..8 | 0 |
//! | 8..16 | number of the request, seed of the stream, or first bad offset |
//! | 16..24 | length |
//! | 24..28 | CRC-32 of the body |
//! | 28..32 | CRC-32 of the bytes before it |

use thiserror::Error;

/// Bytes of a header.
pub const HEADER: usize = 32;
/// Bytes of the largest body of a request.
pub const LARGEST: usize = 1 << 20;
const MAGIC: &[u8; 4] = b"WFT2";

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Send this body back. `number` is that of the request.
    Request,
    /// The body of a request.
    Response,
    /// The request was damaged on the way.
    Damaged,
    /// `length` bytes of the stream of seed `number` follow; check them.
    Put,
    /// The answer to a `Put`: `number` is the first bad offset, or `u64::MAX`.
    Checked,
    /// Send `length` bytes of the stream of seed `number`.
    Get,
}

const KINDS: [Kind; 6] = [
    Kind::Request,
    Kind::Response,
    Kind::Damaged,
    Kind::Put,
    Kind::Checked,
    Kind::Get,
];

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it says.
    pub kind: Kind,
    /// By the kind.
    pub number: u64,
    /// By the kind; that of the body for requests and responses.
    pub length: u64,
    /// Of the body; 0 for kinds without one.
    pub body_crc: u32,
}

/// A header that no sender made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a frame is damaged")]
pub struct Damaged;

impl Frame {
    /// A frame without a body.
    pub fn bare(kind: Kind, number: u64, length: u64) -> Self {
        Self {
            kind,
            number,
            length,
            body_crc: 0,
        }
    }

    /// A frame for `body`.
    pub fn with_body(kind: Kind, number: u64, body: &[u8]) -> Self {
        Self {
            kind,
            number,
            length: body.len() as u64,
            body_crc: crc32fast::hash(body),
        }
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(MAGIC);
        bytes[4] = KINDS
            .iter()
            .position(|kind| *kind == self.kind)
            .unwrap_or(0) as u8;
        bytes[8..16].copy_from_slice(&self.number.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.body_crc.to_be_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads a header.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Self, Damaged> {
        let u32_at = |at: usize| {
            let mut value = [0; 4];
            value.copy_from_slice(&bytes[at..at + 4]);
            u32::from_be_bytes(value)
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
        if &bytes[0..4] != MAGIC || u32_at(28) != crc32fast::hash(&bytes[..28]) {
            return Err(Damaged);
        }
        let frame = Self {
            kind: *KINDS.get(usize::from(bytes[4])).ok_or(Damaged)?,
            number: u64_at(8),
            length: u64_at(16),
            body_crc: u32_at(24),
        };
        let has_body = matches!(frame.kind, Kind::Request | Kind::Response);
        if has_body && frame.length > LARGEST as u64 {
            return Err(Damaged);
        }
        Ok(frame)
    }

    /// Whether `body` is the one that the sender made.
    pub fn fits(&self, body: &[u8]) -> bool {
        self.length == body.len() as u64 && self.body_crc == crc32fast::hash(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_and_any_flipped_bit_is_noticed() {
        for kind in KINDS {
            let frame = Frame {
                kind,
                number: 0x0102_0304_0506_0708,
                length: 1000,
                body_crc: 0xdead_beef,
            };
            let mut bytes = frame.encode();
            assert_eq!(Frame::decode(&bytes), Ok(frame));
            for bit in 0..HEADER * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Frame::decode(&bytes), Err(Damaged), "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn a_length_that_would_exhaust_memory_is_refused() {
        let frame = Frame::bare(Kind::Request, 0, LARGEST as u64 + 1);
        assert_eq!(Frame::decode(&frame.encode()), Err(Damaged));
    }
}
