//! Which pod links there are.

use nix::libc;

use super::message::ifinfomsg;
use super::{Error, HostIfname, connect};
use crate::netlink::Request;

/// The node's ends of all pod links, known to the address store or not.
pub fn list() -> Result<Vec<HostIfname>, Error> {
    /// `RTEXT_FILTER_SKIP_STATS` of linux/rtnetlink.h.
    const SKIP_STATS: u32 = 8;
    let mut request = Request::new(libc::RTM_GETLINK, 0, &ifinfomsg(0, 0));
    request
        .u32(libc::IFLA_EXT_MASK, SKIP_STATS)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth");
        });
    connect()?
        .dump(&request, |message| {
            let (_, attributes) = message.after(16)?;
            attributes.text(libc::IFLA_IFNAME)?.parse().ok()
        })
        .map_err(Error::kernel("list the node's interfaces"))
}
