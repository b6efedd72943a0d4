//! ROUTE-REFRESH: asking for all routes again (RFC 2918), and saying where they begin and end (RFC 7313).

use super::capability::{afi_of, family_of};
use super::frame::{self, Kind};
use super::notification::error;
use super::{Notification, bytes::Reader};
use crate::route::Family;

/// What a ROUTE-REFRESH says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// Send all routes again.
    Request = 0,
    /// All routes follow.
    Begin = 1,
    /// All routes have been sent: what was not among them is gone.
    End = 2,
}

/// One ROUTE-REFRESH message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// The family it is about.
    pub family: Family,
    /// What it says.
    pub refresh: Refresh,
}

impl RouteRefresh {
    /// `None` is to be ignored: a family or subtype that isn't known here (RFC 7313, section 5).
    pub(crate) fn decode(body: &[u8]) -> Result<Option<Self>, Notification> {
        let mut reader = Reader::new(body);
        let (Some(afi), Some(subtype), Some(safi), true) =
            (reader.u16(), reader.u8(), reader.u8(), reader.is_empty())
        else {
            let mut message = Vec::new();
            frame::write(&mut message, Kind::RouteRefresh, |out| out.extend(body));
            return Err(Notification::with_data(error::REFRESH_LENGTH, &message));
        };
        let refresh = match subtype {
            0 => Refresh::Request,
            1 => Refresh::Begin,
            2 => Refresh::End,
            _ => return Ok(None),
        };
        Ok(family_of(afi, safi).map(|family| Self { family, refresh }))
    }

    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        frame::write(out, Kind::RouteRefresh, |out| {
            out.extend(afi_of(self.family).to_be_bytes());
            out.extend([self.refresh as u8, super::capability::UNICAST]);
        });
    }
}
