//! Whether the neighbours that packets go by are there (ARP, RFC 826; neighbour discovery, RFC 4861).
//!
//! The kernel finds out by itself too, but only when packets are sent, and after half a minute. Asked to look at once
//! it takes three seconds, and packets go on meanwhile (`neigh_timer_handler`, net/core/neighbour.c).

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures::TryStreamExt;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::Handle;

use super::read::{ReadError, ask};
use crate::names::DeviceName;

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It has answered, or nobody has looked lately.
    Known,
    /// The kernel is asking.
    Asked,
    /// It has not answered.
    Silent,
    /// Somebody has set it by hand: there is nothing to find out.
    Fixed,
}

/// Looks at neighbours in the network namespace of the thread that made it.
pub struct Gateways {
    handle: Handle,
}

impl Gateways {
    /// Has to be called inside a tokio runtime.
    ///
    /// # Errors
    /// There is no netlink socket to be had.
    pub fn open() -> Result<Self, ReadError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(ReadError::Open)?;
        // It ends when the handle is dropped.
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// What is known of the neighbours on a device, by address; of others there is nothing.
    ///
    /// # Errors
    /// The kernel can't be read.
    pub async fn look(&self, device: DeviceName) -> Result<BTreeMap<IpAddr, Presence>, ReadError> {
        let index = self.index(device).await?;
        let all = self.handle.neighbours().get().execute();
        let all: Vec<NeighbourMessage> = ask("neighbours", all.try_collect()).await?;
        let here = all.iter().filter(|one| one.header.ifindex == index);
        Ok(here.filter_map(presence).collect())
    }

    /// Has the kernel ask whether a neighbour is there. What it is known by stays in use meanwhile.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn ask(
        &self,
        device: DeviceName,
        address: IpAddr,
        known: Option<Presence>,
    ) -> Result<(), ReadError> {
        let index = self.index(device).await?;
        let request = self.handle.neighbours().add(index, address);
        let request = match known {
            Some(Presence::Known) => request.state(NeighbourState::Probe).replace(),
            // It has no link-layer address that could be asked for confirmation.
            _ => request
                .state(NeighbourState::None)
                .flags(NeighbourFlags::Use)
                .replace(),
        };
        ask("neighbours", request.execute()).await
    }

    async fn index(&self, device: DeviceName) -> Result<u32, ReadError> {
        let found = self
            .handle
            .link()
            .get()
            .match_name(device.as_str().to_owned())
            .execute();
        let found: Vec<_> = ask("devices", found.try_collect()).await?;
        Ok(found.first().map_or(0, |link| link.header.index))
    }
}

fn presence(found: &NeighbourMessage) -> Option<(IpAddr, Presence)> {
    let address = found
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::from(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::from(*v6)),
            _ => None,
        })?;
    let presence = match found.header.state {
        NeighbourState::Incomplete | NeighbourState::Probe => Presence::Asked,
        NeighbourState::Failed => Presence::Silent,
        NeighbourState::Noarp | NeighbourState::Permanent => Presence::Fixed,
        _ => Presence::Known,
    };
    Some((address, presence))
}
