//! The capabilities of an OPEN (RFC 5492), those that matter here.

use super::bytes::{Reader, part8};
use crate::route::Family;

/// SAFI 1.
pub(super) const UNICAST: u8 = 1;

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const EXTENDED_MESSAGE: u8 = 6;
const GRACEFUL_RESTART: u8 = 64;
const AS4: u8 = 65;
const ADD_PATH: u8 = 69;
const ENHANCED_ROUTE_REFRESH: u8 = 70;
const LONG_LIVED: u8 = 71;

/// The AFI of a family.
pub(super) fn afi_of(family: Family) -> u16 {
    match family {
        Family::Ipv4 => 1,
        Family::Ipv6 => 2,
    }
}

/// The family of an AFI and SAFI, if it is one that is spoken here.
pub(super) fn family_of(afi: u16, safi: u8) -> Option<Family> {
    match (afi, safi) {
        (1, UNICAST) => Some(Family::Ipv4),
        (2, UNICAST) => Some(Family::Ipv6),
        _ => None,
    }
}

/// The capability that names these families, as it is written in an OPEN.
pub(crate) fn multiprotocol(families: PerFamily<bool>) -> Vec<u8> {
    let mut out = Vec::new();
    Capabilities {
        families: Some(families),
        ..Capabilities::default()
    }
    .write(&mut out);
    out
}

/// One value for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PerFamily<T> {
    /// That of IPv4 unicast.
    pub ipv4: T,
    /// That of IPv6 unicast.
    pub ipv6: T,
}

impl<T> PerFamily<T> {
    /// That of `family`.
    pub fn get(&self, family: Family) -> &T {
        match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        }
    }

    /// That of `family`, to change it.
    pub fn get_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::Ipv4 => &mut self.ipv4,
            Family::Ipv6 => &mut self.ipv6,
        }
    }

    /// A value for each family from one for each of two.
    pub(crate) fn zip<U, V>(
        &self,
        other: &PerFamily<U>,
        with: impl Fn(&T, &U) -> V,
    ) -> PerFamily<V> {
        PerFamily {
            ipv4: with(&self.ipv4, &other.ipv4),
            ipv6: with(&self.ipv6, &other.ipv6),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Family, &T)> {
        [(Family::Ipv4, &self.ipv4), (Family::Ipv6, &self.ipv6)].into_iter()
    }
}

/// Graceful restart, as the OPEN has it (RFC 4724, section 3; RFC 8538, section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GracefulRestart {
    /// The R bit: has just restarted, and waits for no End-of-RIB of its peer before it sends its own.
    pub restarting: bool,
    /// The N bit: a NOTIFICATION that is no hard reset, and the end of the hold time, keep routes too.
    pub notification: bool,
    /// How long to wait for the session to come back, in seconds (less than 4096).
    pub restart_time: u16,
    /// The families, and for each the F bit: was forwarding preserved?
    pub families: PerFamily<Option<bool>>,
}

/// Long-lived graceful restart of one family (RFC 9494, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LongLived {
    /// The F bit: was forwarding preserved?
    pub forwarding: bool,
    /// How long stale routes are kept, in seconds (less than 2^24).
    pub stale_time: u32,
}

/// Which way several paths to one prefix can go (RFC 7911, section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddPath {
    /// Would send them.
    pub send: bool,
    /// Would take them.
    pub receive: bool,
}

/// What one speaker can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities {
    /// The families of the multiprotocol capability (RFC 4760); `None` if there is no such capability, which means
    /// IPv4 alone.
    pub families: Option<PerFamily<bool>>,
    /// The AS number in four octets (RFC 6793).
    pub as4: Option<u32>,
    /// RFC 2918.
    pub route_refresh: bool,
    /// RFC 7313.
    pub enhanced_route_refresh: bool,
    /// RFC 8654.
    pub extended_message: bool,
    /// IPv4 prefixes with IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// RFC 7911.
    pub add_path: PerFamily<AddPath>,
    /// RFC 4724.
    pub graceful_restart: Option<GracefulRestart>,
    /// RFC 9494.
    pub long_lived: PerFamily<Option<LongLived>>,
}

impl Capabilities {
    /// The families that are spoken.
    pub fn families(&self) -> PerFamily<bool> {
        self.families.unwrap_or(PerFamily {
            ipv4: true,
            ipv6: false,
        })
    }

    /// Adds one capability. Codes, families and bits that aren't known here are passed over; `None` if the value
    /// can't be what its code says.
    pub(super) fn read(&mut self, code: u8, value: &[u8]) -> Option<()> {
        let mut value = Reader::new(value);
        match code {
            MULTIPROTOCOL => {
                let (afi, _, safi) = (value.u16()?, value.u8()?, value.u8()?);
                let families = self.families.get_or_insert_default();
                if let Some(family) = family_of(afi, safi) {
                    *families.get_mut(family) = true;
                }
            }
            ROUTE_REFRESH => self.route_refresh = true,
            ENHANCED_ROUTE_REFRESH => self.enhanced_route_refresh = true,
            EXTENDED_MESSAGE => self.extended_message = true,
            AS4 => self.as4 = Some(value.u32()?),
            EXTENDED_NEXT_HOP => {
                while !value.is_empty() {
                    self.extended_next_hop |=
                        (value.u16()?, value.u16()?, value.u16()?) == (1, UNICAST.into(), 2);
                }
            }
            ADD_PATH => {
                while !value.is_empty() {
                    let (family, bits) = (family_of(value.u16()?, value.u8()?), value.u8()?);
                    if let (Some(family), 1..=3) = (family, bits) {
                        *self.add_path.get_mut(family) = AddPath {
                            send: bits & 2 != 0,
                            receive: bits & 1 != 0,
                        };
                    }
                }
            }
            GRACEFUL_RESTART => {
                let head = value.u16()?;
                let mut restart = GracefulRestart {
                    restarting: head & 0x8000 != 0,
                    notification: head & 0x4000 != 0,
                    restart_time: head & 0x0fff,
                    families: PerFamily::default(),
                };
                while !value.is_empty() {
                    let (family, bits) = (family_of(value.u16()?, value.u8()?), value.u8()?);
                    if let Some(family) = family {
                        *restart.families.get_mut(family) = Some(bits & 0x80 != 0);
                    }
                }
                self.graceful_restart = Some(restart);
            }
            LONG_LIVED => {
                while !value.is_empty() {
                    let (family, bits) = (family_of(value.u16()?, value.u8()?), value.u8()?);
                    let [a, b, c] = value.array()?;
                    if let Some(family) = family {
                        let stale_time = u32::from_be_bytes([0, a, b, c]);
                        *self.long_lived.get_mut(family) = Some(LongLived {
                            forwarding: bits & 0x80 != 0,
                            stale_time,
                        });
                    }
                }
            }
            _ => return Some(()),
        }
        value.is_empty().then_some(())
    }

    /// Appends all of them, as code, length and value each. At most 93 octets.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut put = |code: u8, value: &[u8]| {
            out.push(code);
            part8(out, |out| out.extend(value));
        };
        for (family, _) in self
            .families
            .iter()
            .flat_map(PerFamily::iter)
            .filter(|(_, spoken)| **spoken)
        {
            put(MULTIPROTOCOL, &[0, afi_of(family) as u8, 0, UNICAST]);
        }
        if self.route_refresh {
            put(ROUTE_REFRESH, &[]);
        }
        if self.extended_next_hop {
            put(EXTENDED_NEXT_HOP, &[0, 1, 0, UNICAST, 0, 2]);
        }
        if self.extended_message {
            put(EXTENDED_MESSAGE, &[]);
        }
        if let Some(restart) = &self.graceful_restart {
            let bits = u16::from(restart.restarting) << 15 | u16::from(restart.notification) << 14;
            let mut value = (bits | restart.restart_time.min(0x0fff))
                .to_be_bytes()
                .to_vec();
            for (family, forwarding) in restart.families.iter() {
                if let Some(forwarding) = forwarding {
                    value.extend([0, afi_of(family) as u8, UNICAST, u8::from(*forwarding) << 7]);
                }
            }
            put(GRACEFUL_RESTART, &value);
        }
        if let Some(asn) = self.as4 {
            put(AS4, &asn.to_be_bytes());
        }
        let mut value = Vec::new();
        for (family, add_path) in self.add_path.iter() {
            let bits = u8::from(add_path.send) << 1 | u8::from(add_path.receive);
            if bits != 0 {
                value.extend([0, afi_of(family) as u8, UNICAST, bits]);
            }
        }
        if !value.is_empty() {
            put(ADD_PATH, &value);
        }
        if self.enhanced_route_refresh {
            put(ENHANCED_ROUTE_REFRESH, &[]);
        }
        let mut value = Vec::new();
        for (family, long_lived) in self.long_lived.iter() {
            if let Some(long_lived) = long_lived {
                let [_, a, b, c] = long_lived.stale_time.min(0x00ff_ffff).to_be_bytes();
                let bits = u8::from(long_lived.forwarding) << 7;
                value.extend([0, afi_of(family) as u8, UNICAST, bits, a, b, c]);
            }
        }
        if !value.is_empty() {
            put(LONG_LIVED, &value);
        }
    }
}
