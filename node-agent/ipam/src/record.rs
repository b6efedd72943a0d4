//! One line of the journal: eight hex digits of CRC-32, a space, JSON, a newline.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Attachment, AttachmentId};

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// An attachment begins. No kernel object of it exists yet.
    Attach(Box<Attachment>),
    /// It has ended. No kernel object of it exists any more.
    Detach {
        /// Which one.
        #[serde(flatten)]
        id: AttachmentId,
        /// When, in seconds since 1970; for the reader, nothing depends on it.
        until: u64,
    },
    /// Addresses that were used once and are free, the longest free first: what remains of the `Detach` lines
    /// that a compaction drops.
    Freed(Vec<IpAddr>),
}

impl Record {
    /// The line, newline included.
    pub fn to_line(&self) -> Vec<u8> {
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{:08x} {json}\n", crc32(json.as_bytes())).into_bytes()
    }

    /// The record of a line without its newline, or `None` if one bit of it is wrong.
    pub fn from_line(line: &[u8]) -> Option<Self> {
        let (crc, json) = (line.get(..8)?, line.get(9..)?);
        let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
        if line[8] != b' ' || crc != crc32(json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// CRC-32 as in IEEE 802.3 (reflected, polynomial 0x04c11db7).
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut value = i as u32;
            let mut bit = 0;
            while bit < 8 {
                value = (value >> 1) ^ (0xedb8_8320 * (value & 1));
                bit += 1;
            }
            table[i] = value;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, &byte| {
        (crc >> 8) ^ TABLE[((crc ^ u32::from(byte)) & 0xff) as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let record = Record::Detach {
            id: AttachmentId::new("abc", "eth0"),
            until: 7,
        };
        let mut line = record.to_line();
        line.pop();
        assert_eq!(Record::from_line(&line), Some(record.clone()));
        for bit in 0..line.len() * 8 {
            let mut bad = line.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // A hex digit of the checksum in the other case is the same checksum.
            let read = Record::from_line(&bad);
            assert!(read.is_none() || (read == Some(record.clone()) && bit / 8 < 8));
        }
    }
}
