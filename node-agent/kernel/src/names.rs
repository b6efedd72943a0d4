//! Two small values of fixed size: the name of a network device and a MAC address.
//! A node with thousands of peers holds many of them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `IFNAMSIZ` without the terminating zero.
const LONGEST: usize = 15;

/// Name of a network device: at most 15 bytes, neither empty nor with `/` or spaces.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName([u8; LONGEST]);

/// A text that isn't a device name or MAC address.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a {what}")]
pub struct ParseError {
    text: String,
    what: &'static str,
}

impl DeviceName {
    /// The loopback device.
    pub const LO: Self = Self::fixed("lo");
    /// Our VXLAN device over an IPv4 underlay.
    pub const VX4: Self = Self::fixed("weft.vx4");
    /// Our VXLAN device over an IPv6 underlay.
    pub const VX6: Self = Self::fixed("weft.vx6");

    const fn fixed(name: &str) -> Self {
        let from = name.as_bytes();
        let mut bytes = [0; LONGEST];
        let mut at = 0;
        while at < from.len() {
            bytes[at] = from[at];
            at += 1;
        }
        Self(bytes)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(LONGEST);
        std::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }

    /// True if devices of this name are Weft's: its prefix is `weft`.
    pub fn is_ours(&self) -> bool {
        self.0.starts_with(b"weft")
    }
}

impl FromStr for DeviceName {
    type Err = ParseError;

    fn from_str(name: &str) -> Result<Self, ParseError> {
        let fine = !name.is_empty()
            && name.len() <= LONGEST
            && !matches!(name, "." | "..")
            && !name.contains(|c: char| c == '/' || c == '\0' || c.is_whitespace());
        if fine {
            Ok(Self::fixed(name))
        } else {
            Err(ParseError {
                text: name.into(),
                what: "device name",
            })
        }
    }
}

/// A MAC address.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Its IPv6 link-local address, by modified EUI-64 (RFC 4291, appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let pair = |high, low| u16::from_be_bytes([high, low]);
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            pair(a ^ 2, b),
            pair(c, 0xff),
            pair(0xfe, d),
            pair(e, f),
        )
    }

    /// The address in the first six bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.get(..6)?.try_into().ok().map(Self)
    }
}

impl FromStr for Mac {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError {
            text: text.into(),
            what: "MAC address",
        };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(error)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for DeviceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for DeviceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_text_and_refuse_what_the_kernel_refuses() {
        for good in ["lo", "weft.vx4", "weft0123456789a", "eth0@x"] {
            assert_eq!(good.parse::<DeviceName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a b", "a/b", "sixteen-bytes-xx"] {
            assert!(bad.parse::<DeviceName>().is_err(), "{bad:?}");
        }
        assert!(DeviceName::VX4.is_ours());
        assert!(!DeviceName::LO.is_ours());
    }

    #[test]
    fn a_mac_address_makes_a_link_local_address() {
        let mac: Mac = "34:56:78:9a:bc:de".parse().unwrap();
        assert_eq!(mac.link_local().to_string(), "fe80::3656:78ff:fe9a:bcde");
    }

    #[test]
    fn mac_addresses_round_trip() {
        let mac: Mac = "02:aa:00:0f:10:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "02:aa:00:0f:10:ff");
        for bad in [
            "",
            "02:aa",
            "02:aa:00:0f:10:fff",
            "02:aa:00:0f:10:ff:00",
            "+2:aa:00:0f:10:f",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?}");
        }
    }
}
