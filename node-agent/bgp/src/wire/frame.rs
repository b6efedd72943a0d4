//! Messages in a stream of bytes: the header of RFC 4271, section 4.1.

use super::Notification;
use super::notification::error;

/// Octets of marker, length and type.
pub(crate) const HEADER: usize = 19;
/// The longest message, header and all (RFC 4271, section 4.1).
pub const MAX: usize = 4096;
/// The longest message where extended messages were agreed on (RFC 8654).
pub const MAX_EXTENDED: usize = 65_535;

const MARKER: [u8; 16] = [0xff; 16];

/// The type of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 4271, section 4.2.
    Open = 1,
    /// RFC 4271, section 4.3.
    Update = 2,
    /// RFC 4271, section 4.5.
    Notification = 3,
    /// RFC 4271, section 4.4.
    Keepalive = 4,
    /// RFC 2918.
    RouteRefresh = 5,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Open,
            2 => Self::Update,
            3 => Self::Notification,
            4 => Self::Keepalive,
            5 => Self::RouteRefresh,
            _ => return None,
        })
    }

    /// The lengths that a message of this type can have, header and all (RFC 4271, section 6.1; RFC 8654, section 4).
    fn lengths(self, max: usize) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Open => 29..=MAX,
            Self::Update => 23..=max,
            Self::Notification => 21..=max,
            Self::Keepalive => HEADER..=HEADER,
            Self::RouteRefresh => 23..=max,
        }
    }
}

/// One message, without its header.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: Kind,
    /// What follows the header.
    pub body: &'a [u8],
}

/// Cuts a stream into messages. Holds at most one incomplete message beside what was pushed last.
#[derive(Debug)]
pub struct Framer {
    bytes: Vec<u8>,
    read: usize,
    max: usize,
}

impl Framer {
    /// For messages of at most `max` octets, header and all: [`MAX`] or [`MAX_EXTENDED`].
    pub fn new(max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            read: 0,
            max,
        }
    }

    /// Takes the next bytes of the stream. Call [`Self::pop`] until it has nothing more before the next call.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one. An error is what to answer the peer with; the stream can't be read
    /// past it, and each further call says the same (RFC 4271, section 6.1).
    pub fn pop(&mut self) -> Result<Option<Frame<'_>>, Notification> {
        let unread = self.bytes.get(self.read..).unwrap_or_default();
        let Some((header, _)) = unread.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [marker @ .., high, low, code] = header;
        if *marker != MARKER {
            return Err(Notification::new(error::NOT_SYNCHRONIZED));
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let bad_length = || Notification::with_data(error::BAD_LENGTH, &[*high, *low]);
        if !(HEADER..=self.max).contains(&length) {
            return Err(bad_length());
        }
        let kind =
            Kind::of(*code).ok_or_else(|| Notification::with_data(error::BAD_TYPE, &[*code]))?;
        if !kind.lengths(self.max).contains(&length) {
            return Err(bad_length());
        }
        let Some(body) = unread.get(HEADER..length) else {
            return Ok(None);
        };
        self.read += length;
        Ok(Some(Frame { kind, body }))
    }
}

/// Appends a message. What `write` appends must keep the message within the length agreed on.
pub(crate) fn write(out: &mut Vec<u8>, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(MARKER);
    out.extend([0, 0, kind as u8]);
    write(out);
    let length = out.len() - start;
    debug_assert!(length <= MAX_EXTENDED);
    out[start + 16..start + 18].copy_from_slice(&(length as u16).to_be_bytes());
}
