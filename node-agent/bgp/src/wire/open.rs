//! OPEN: who a speaker is and what it can do (RFC 4271, section 4.2).

use std::net::Ipv4Addr;

use super::bytes::{Reader, part8};
use super::frame::{self, Kind};
use super::notification::error;
use super::{Capabilities, Notification};

/// Stands for an AS number that doesn't fit in two octets (RFC 6793, section 9).
pub(super) const AS_TRANS: u16 = 23456;

const VERSION: u8 = 4;
const CAPABILITIES: u8 = 2;
/// As the type of the first parameter: lengths have two octets (RFC 9072, section 2).
const EXTENDED_LENGTHS: u8 = 255;

/// An OPEN message. Only that it can be read has been checked, not that its values are acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// The AS number: that of the four-octet capability if there is one.
    pub(crate) asn: u32,
    /// The hold time in seconds.
    pub(crate) hold_time: u16,
    /// The BGP identifier.
    pub(crate) id: Ipv4Addr,
    /// What the sender can do.
    pub(crate) capabilities: Capabilities,
}

impl Open {
    /// Errors are those of RFC 4271, section 6.2 that concern the form: version and optional parameters.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Notification> {
        let malformed = || Notification::new(error::OPEN);
        let mut reader = Reader::new(body);
        let version = reader.u8().ok_or_else(malformed)?;
        if version != VERSION {
            return Err(Notification::with_data(
                error::UNSUPPORTED_VERSION,
                &u16::from(VERSION).to_be_bytes(),
            ));
        }
        let asn = reader.u16().ok_or_else(malformed)?;
        let hold_time = reader.u16().ok_or_else(malformed)?;
        let id = reader.u32().ok_or_else(malformed)?;
        let capabilities = parameters(&mut reader)?;
        Ok(Self {
            asn: capabilities.as4.unwrap_or(asn.into()),
            hold_time,
            id: id.into(),
            capabilities,
        })
    }

    /// Appends the message.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        frame::write(out, Kind::Open, |out| {
            out.push(VERSION);
            out.extend(u16::try_from(self.asn).unwrap_or(AS_TRANS).to_be_bytes());
            out.extend(self.hold_time.to_be_bytes());
            out.extend(self.id.octets());
            let mut capabilities = Vec::new();
            self.capabilities.write(&mut capabilities);
            part8(out, |out| {
                if !capabilities.is_empty() {
                    out.push(CAPABILITIES);
                    part8(out, |out| out.extend(capabilities));
                }
            });
        });
    }
}

fn parameters(reader: &mut Reader<'_>) -> Result<Capabilities, Notification> {
    let malformed = || Notification::new(error::OPEN);
    let length = reader.u8().ok_or_else(malformed)?;
    let extended = length != 0 && reader.rest().first() == Some(&EXTENDED_LENGTHS);
    let parameters = if extended {
        reader.u8();
        reader.part16()
    } else {
        reader.take(length.into())
    };
    let mut parameters = Reader::new(parameters.ok_or_else(malformed)?);
    if !reader.is_empty() {
        return Err(malformed());
    }
    let mut capabilities = Capabilities::default();
    while let Some(kind) = parameters.u8() {
        let value = if extended {
            parameters.part16()
        } else {
            parameters.part8()
        };
        let mut value = Reader::new(value.ok_or_else(malformed)?);
        if kind != CAPABILITIES {
            return Err(Notification::with_data(
                error::UNSUPPORTED_PARAMETER,
                &[kind],
            ));
        }
        while let Some(code) = value.u8() {
            let value = value.part8().ok_or_else(malformed)?;
            capabilities.read(code, value).ok_or_else(malformed)?;
        }
    }
    Ok(capabilities)
}
