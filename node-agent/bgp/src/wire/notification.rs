//! NOTIFICATION: why a session ends (RFC 4271, section 4.5), what the admin says about it (RFC 9003), and whether
//! routes may outlive it (RFC 8538).

use std::fmt;

use super::bytes::Reader;
use super::frame::{self, Kind};

/// Code and subcode of each error that is sent from here.
pub(crate) mod error {
    pub(crate) type Error = (u8, u8);

    pub(crate) const NOT_SYNCHRONIZED: Error = (1, 1);
    pub(crate) const BAD_LENGTH: Error = (1, 2);
    pub(crate) const BAD_TYPE: Error = (1, 3);
    pub(crate) const OPEN: Error = (2, 0);
    pub(crate) const UNSUPPORTED_VERSION: Error = (2, 1);
    pub(crate) const BAD_PEER_AS: Error = (2, 2);
    pub(crate) const BAD_IDENTIFIER: Error = (2, 3);
    pub(crate) const UNSUPPORTED_PARAMETER: Error = (2, 4);
    pub(crate) const UNACCEPTABLE_HOLD_TIME: Error = (2, 6);
    pub(crate) const UNSUPPORTED_CAPABILITY: Error = (2, 7);
    pub(crate) const MALFORMED_LIST: Error = (3, 1);
    pub(crate) const UNRECOGNIZED_WELL_KNOWN: Error = (3, 2);
    pub(crate) const MISSING_WELL_KNOWN: Error = (3, 3);
    pub(crate) const ATTRIBUTE_FLAGS: Error = (3, 4);
    pub(crate) const ATTRIBUTE_LENGTH: Error = (3, 5);
    pub(crate) const INVALID_ORIGIN: Error = (3, 6);
    pub(crate) const INVALID_NEXT_HOP: Error = (3, 8);
    pub(crate) const OPTIONAL_ATTRIBUTE: Error = (3, 9);
    pub(crate) const INVALID_NETWORK: Error = (3, 10);
    pub(crate) const MALFORMED_AS_PATH: Error = (3, 11);
    pub(crate) const HOLD_TIMER_EXPIRED: Error = (4, 0);
    pub(crate) const UNEXPECTED_IN_OPEN_SENT: Error = (5, 1);
    pub(crate) const UNEXPECTED_IN_OPEN_CONFIRM: Error = (5, 2);
    pub(crate) const UNEXPECTED_IN_ESTABLISHED: Error = (5, 3);
    pub(crate) const COLLISION: Error = (6, 7);
    pub(crate) const HARD_RESET: Error = (6, 9);
    pub(crate) const REFRESH_LENGTH: Error = (7, 1);
}

/// Longest text of a shutdown communication, in octets of UTF-8 (RFC 9003, section 2).
const MAX_TEXT: usize = 255;

/// Why a session ends. Displays as words for an admin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notification {
    /// The error code.
    pub code: u8,
    /// The error subcode.
    pub subcode: u8,
    /// What belongs to the error, as the code says.
    pub data: Vec<u8>,
}

/// Why this end ends a session (RFC 4486). Sent as a Cease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cease {
    /// The peer sent more prefixes than it may.
    MaximumPrefixes = 1,
    /// An admin stopped it.
    Shutdown = 2,
    /// The peer is no longer configured.
    Deconfigured = 3,
    /// An admin restarts it.
    Reset = 4,
    /// The configuration changed, and the session must be made anew.
    ConfigurationChanged = 6,
    /// Short of memory or the like.
    OutOfResources = 8,
}

impl Cease {
    /// Is this for long, so that no route may outlive the session (RFC 8538, section 5.1)?
    pub(crate) fn is_hard(self) -> bool {
        matches!(
            self,
            Self::MaximumPrefixes | Self::Shutdown | Self::Deconfigured
        )
    }

    /// With the admin's words, where the subcode carries any; they are cut after 255 octets.
    pub(crate) fn notification(self, text: &str) -> Notification {
        let mut data = Vec::new();
        if !text.is_empty() && matches!(self, Self::Shutdown | Self::Reset) {
            let text = &text[..text.floor_char_boundary(MAX_TEXT)];
            data.push(text.len() as u8);
            data.extend(text.as_bytes());
        }
        Notification {
            code: 6,
            subcode: self as u8,
            data,
        }
    }
}

impl Notification {
    pub(crate) fn new(error: error::Error) -> Self {
        Self::with_data(error, &[])
    }

    pub(crate) fn with_data((code, subcode): error::Error, data: &[u8]) -> Self {
        Self {
            code,
            subcode,
            data: data.to_vec(),
        }
    }

    /// From the body of a message; [`super::Framer`] has seen to it that code and subcode are there.
    pub(crate) fn decode(body: &[u8]) -> Self {
        let mut body = Reader::new(body);
        Self {
            code: body.u8().unwrap_or_default(),
            subcode: body.u8().unwrap_or_default(),
            data: body.rest().to_vec(),
        }
    }

    /// Appends the message; data that would make it longer than 4096 octets is cut.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        frame::write(out, Kind::Notification, |out| {
            out.extend([self.code, self.subcode]);
            out.extend(self.data.iter().take(frame::MAX - frame::HEADER - 2));
        });
    }

    pub(crate) fn error(&self) -> error::Error {
        (self.code, self.subcode)
    }

    /// May no route outlive the session, even where RFC 8538 was agreed on?
    pub(crate) fn is_hard(&self) -> bool {
        self.error() == error::HARD_RESET
    }

    /// The same error as a hard reset (RFC 8538, section 3.1).
    pub(crate) fn into_hard(self) -> Self {
        let mut data = vec![self.code, self.subcode];
        data.extend(self.data);
        Self {
            data,
            ..Self::new(error::HARD_RESET)
        }
    }

    /// What the other admin had to say (RFC 9003), fit for a log.
    fn text(&self) -> Option<String> {
        if !matches!(self.error(), (6, 2 | 4)) {
            return None;
        }
        let text = Reader::new(&self.data)
            .part8()
            .filter(|text| !text.is_empty())?;
        Some(
            String::from_utf8_lossy(text)
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
        )
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_hard()
            && let [code, subcode, data @ ..] = self.data.as_slice()
            && (*code, *subcode) != error::HARD_RESET
        {
            return write!(
                f,
                "hard reset: {}",
                Self::with_data((*code, *subcode), data)
            );
        }
        match name(self.code, self.subcode) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "error {} subcode {}", self.code, self.subcode)?,
        }
        match self.text() {
            Some(text) => write!(f, ": {text}"),
            None => Ok(()),
        }
    }
}

fn name(code: u8, subcode: u8) -> Option<&'static str> {
    Some(match (code, subcode) {
        (1, 1) => "message header: connection not synchronized",
        (1, 2) => "message header: bad message length",
        (1, 3) => "message header: bad message type",
        (1, _) => "message header error",
        (2, 1) => "OPEN: unsupported version",
        (2, 2) => "OPEN: bad peer AS",
        (2, 3) => "OPEN: bad BGP identifier",
        (2, 4) => "OPEN: unsupported optional parameter",
        (2, 6) => "OPEN: unacceptable hold time",
        (2, 7) => "OPEN: unsupported capability",
        (2, 11) => "OPEN: role mismatch",
        (2, _) => "OPEN error",
        (3, 1) => "UPDATE: malformed attribute list",
        (3, 2) => "UPDATE: unrecognized well-known attribute",
        (3, 3) => "UPDATE: missing well-known attribute",
        (3, 4) => "UPDATE: attribute flags",
        (3, 5) => "UPDATE: attribute length",
        (3, 6) => "UPDATE: invalid ORIGIN",
        (3, 8) => "UPDATE: invalid NEXT_HOP",
        (3, 9) => "UPDATE: optional attribute",
        (3, 10) => "UPDATE: invalid network field",
        (3, 11) => "UPDATE: malformed AS_PATH",
        (3, _) => "UPDATE error",
        (4, _) => "hold timer expired",
        (5, 1) => "unexpected message in OpenSent",
        (5, 2) => "unexpected message in OpenConfirm",
        (5, 3) => "unexpected message in Established",
        (5, _) => "unexpected message",
        (6, 1) => "maximum number of prefixes reached",
        (6, 2) => "administrative shutdown",
        (6, 3) => "peer de-configured",
        (6, 4) => "administrative reset",
        (6, 5) => "connection rejected",
        (6, 6) => "other configuration change",
        (6, 7) => "connection collision resolution",
        (6, 8) => "out of resources",
        (6, 9) => "hard reset",
        (6, 10) => "BFD down",
        (6, _) => "cease",
        (7, 1) => "ROUTE-REFRESH: invalid message length",
        (7, _) => "ROUTE-REFRESH error",
        (8, _) => "send hold timer expired",
        _ => return None,
    })
}
