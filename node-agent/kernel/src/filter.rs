//! Whether the kernel itself drops IPv4 packets of pods whose source is not routed back to them
//! (`rp_filter`, RFC 3704).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::names::DeviceName;
use crate::netlink::{Connection, Error, Request};
use crate::object::link::Link;
use crate::object::uapi::*;
use crate::pod::HostIfname;
use crate::state::Setting;

/// Drop what is not reached through the device that it came in by.
const STRICT: u32 = 1;
/// The number by which the settings of all devices together are asked for.
pub(crate) const ALL: u32 = u32::MAX;

/// How strict the kernel is with what pods send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFilter {
    /// `rp_filter` of `all`; of it and that of the device the greater counts.
    all: Option<u32>,
    /// The devices of pods whose own setting is not strict.
    loose: BTreeSet<DeviceName>,
}

impl SourceFilter {
    /// Nothing has to be added to what the kernel does.
    pub fn is_strict(&self) -> bool {
        self.all.is_some_and(|all| all <= STRICT) && self.loose.is_empty()
    }

    /// Reads what concerns all devices. A kernel that doesn't say is not taken to be strict.
    pub(crate) fn read(route: &mut Connection) -> Result<Self, Error> {
        let mut request = Request::new(RTM_GETNETCONF, 0, &[AF_INET, 0, 0, 0]);
        request.u32(NETCONFA_IFINDEX, ALL);
        let mut all = None;
        let outcome = route.get(&request, |message| {
            all = message
                .after(4)
                .and_then(|(_, values)| values.u32(NETCONFA_RP_FILTER));
        });
        match outcome {
            Err(Error::Kernel { .. }) => Ok(Self::default()),
            outcome => outcome.map(|()| Self {
                all,
                ..Self::default()
            }),
        }
    }

    /// Takes a device into account. One that is down sends nothing, and is perhaps not set up yet.
    pub(crate) fn note_link(&mut self, link: &Link, present: bool) {
        let value = link.ipv4.get(&Setting::RpFilter).copied();
        if present && link.is_up() {
            self.note_device(link.name, value);
        } else {
            self.loose.remove(&link.name);
        }
    }

    /// Takes a new value of a device into account.
    pub(crate) fn note_device(&mut self, device: DeviceName, value: Option<u32>) {
        if value != Some(STRICT) && device.as_str().parse::<HostIfname>().is_ok() {
            self.loose.insert(device);
        } else {
            self.loose.remove(&device);
        }
    }

    /// Takes a new value of `all` into account.
    pub(crate) fn note_all(&mut self, value: u32) {
        self.all = Some(value);
    }
}
