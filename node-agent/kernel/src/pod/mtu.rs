//! Changing a running pod's MTU.

use super::message::{default_routes, set_mtu};
use super::netns::Netns;
use super::{Error, PodLink, check, connect, perform};
use crate::netlink::Connection;

/// Gives a running pod the `mtu` and `link_mtu` of `link`, in an order that loses nothing: what may be sent is never
/// more than what is accepted.
///
/// To lower a cluster's MTU: first the new `mtu` with the old `link_mtu` everywhere, as other pods still send the old
/// size; after the drain time the new `link_mtu`. To raise it: first `link_mtu` everywhere, then `mtu`. Established TCP
/// connections follow the routes at their next packet.
pub fn set_pod_mtu(link: &PodLink) -> Result<(), Error> {
    let netns = Netns::open(&link.netns)?;
    let mut host = connect()?;
    let host_mtu = |host: &mut Connection| {
        perform(
            host,
            vec![set_mtu(link.host_ifname.as_str(), link.link_mtu)],
        )
    };
    let before = check::find(&mut host, link.host_ifname.as_str())?.map_or(0, |found| found.mtu);
    let raise = before < link.link_mtu;
    if raise {
        host_mtu(&mut host)?;
    }
    netns.run(|| {
        let mut pod = connect()?;
        let Some(inside) = check::find(&mut pod, &link.ifname)? else {
            return Ok(());
        };
        let mut steps = default_routes(link, inside.index);
        let device = set_mtu(&link.ifname, link.link_mtu);
        if inside.mtu < link.link_mtu {
            steps.insert(0, device);
        } else {
            steps.push(device);
            // A smaller device MTU lowers what the routes say, if they say more; they say it again after.
            steps.extend(default_routes(link, inside.index));
        }
        perform(&mut pod, steps)
    })?;
    if !raise {
        host_mtu(&mut host)?;
    }
    Ok(())
}
