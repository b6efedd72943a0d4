//! What this kernel can do of what Weft needs. It is not asked for its version but told to
//! do it, in a network namespace that nothing else sees and that ends with the attempt.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use crate::action::Action;
use crate::apply::apply;
use crate::kernel::{Indexes, Kernel};
use crate::names::{DeviceName, Mac};
use crate::netlink::Error;
use crate::nft::{Change, HostPortKey, HostPortTarget, NftTable};
use crate::object::link;
use crate::observe::{Scope, observe};
use crate::state::{Family, Nexthop, OwnAddress, Route, RouteKey, RouteTarget, Vxlan};

/// Something that a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Capability {
    /// VXLAN devices over an IPv4 underlay.
    VxlanV4,
    /// VXLAN devices over an IPv6 underlay; IPv6 as such.
    VxlanV6,
    /// Nexthop objects, and IPv4 routes by them.
    NexthopsV4,
    /// IPv6 routes by nexthop objects.
    NexthopsV6,
    /// nftables with sets, maps, address types and address translation, in family inet.
    Nftables,
    /// Addresses that say who set them. Not needed: without it, whatever address of a pool
    /// is on `lo` is taken for Weft's.
    AddressProtocol,
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VxlanV4 => "VXLAN over IPv4 (CONFIG_VXLAN)",
            Self::VxlanV6 => "VXLAN over IPv6 (CONFIG_VXLAN, CONFIG_IPV6)",
            Self::NexthopsV4 => "nexthop objects for IPv4 routes (Linux 5.3)",
            Self::NexthopsV6 => "nexthop objects for IPv6 routes (Linux 5.3, CONFIG_IPV6)",
            Self::Nftables => "nftables with NAT and fib (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_FIB_INET)",
            Self::AddressProtocol => "addresses with a protocol (Linux 5.18)",
        })
    }
}

/// What the kernel lacks, each with the error that it gave. Empty means that all is there.
pub type Missing = BTreeMap<Capability, String>;

/// Tries everything out, in a network namespace made for it. Needs CAP_SYS_ADMIN to make
/// that namespace; nothing remains of it.
///
/// # Errors
/// The namespace or its sockets cannot be had: then nothing is known.
pub fn probe() -> Result<Missing, Error> {
    let probing = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Socket {
            operation: "unshare a network namespace",
            errno,
        })?;
        try_everything(&mut Kernel::open()?)
    });
    probing.join().unwrap_or(Err(Error::Lost))
}

fn try_everything(kernel: &mut Kernel) -> Result<Missing, Error> {
    let lo = Indexes::default().of(&mut kernel.route, DeviceName::LO)?;
    kernel.route.execute_one(&link::up(lo))?;
    let mut missing = Missing::new();
    let mut attempt = |capability, actions: &[Action]| {
        let failed = apply(kernel, actions).into_iter().find_map(Result::err);
        if let Some(error) = failed {
            missing.insert(capability, error.to_string());
        }
    };
    let (v4, v6) = (
        IpAddr::from([192, 0, 2, 1]),
        IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    );
    attempt(
        Capability::VxlanV4,
        &[Action::CreateLink(DeviceName::VX4, vxlan(v4))],
    );
    attempt(
        Capability::VxlanV6,
        &[Action::CreateLink(DeviceName::VX6, vxlan(v6))],
    );
    attempt(Capability::NexthopsV4, &by_nexthop(1, v4, DeviceName::VX4));
    attempt(Capability::NexthopsV6, &by_nexthop(2, v6, DeviceName::VX6));
    attempt(
        Capability::Nftables,
        &[Action::Nft(Change::Create(table()))],
    );
    let own = [v4, v6].map(OwnAddress::on_lo);
    attempt(Capability::AddressProtocol, &own.map(Action::AddAddress));
    let observed = observe(kernel, &Scope::default())?.ours;
    if !own.iter().all(|own| observed.addresses.contains(own)) {
        let why = "the kernel forgets it";
        missing
            .entry(Capability::AddressProtocol)
            .or_insert_with(|| why.into());
    }
    Ok(missing)
}

fn vxlan(local: IpAddr) -> Vxlan {
    Vxlan {
        vni: 1,
        port: 4789,
        local,
        mac: Mac([2, 0, 0, 0, 0, 1]),
        mtu: 1400,
        tx_checksum: true,
        up: true,
        learning: false,
    }
}

/// A route by a nexthop object, which is replaced.
fn by_nexthop(id: u32, gateway: IpAddr, device: DeviceName) -> [Action; 3] {
    let nexthop = Nexthop::onlink(gateway, device);
    let key = RouteKey::send(gateway.into());
    let route = Route::from(RouteTarget::Nexthop(id));
    [
        Action::AddNexthop(id, nexthop),
        Action::AddRoute(key, route),
        Action::ReplaceNexthop(id, nexthop),
    ]
}

/// A table that has each kind of rule and element.
fn table() -> NftTable {
    let key = HostPortKey {
        family: Family::V4,
        protocol: 6,
        host: None,
        port: 1,
    };
    let target = HostPortTarget {
        address: IpAddr::from([192, 0, 2, 2]),
        port: 1,
    };
    NftTable {
        pools: [ipnet::IpNet::from(target.address)].into(),
        node_v4: Some([192, 0, 2, 1].into()),
        node_v6: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
        hostports: [(key, target)].into(),
        ..NftTable::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_netns, sh};

    #[test]
    fn what_is_missing_is_named_with_its_cause() {
        let missing = in_netns(|| {
            sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
            try_everything(&mut Kernel::open().unwrap()).unwrap()
        });
        let names: Vec<_> = missing.keys().copied().collect();
        assert_eq!(names, [Capability::NexthopsV6, Capability::AddressProtocol]);
        assert!(missing.values().all(|why| !why.is_empty()), "{missing:?}");
    }
}
