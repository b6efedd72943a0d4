//! The routers of racks, and the links that join them to the router of the cluster.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Endpoint;
use crate::spec::{ClusterSpec, Daemon, RouterSpec};

/// AS number of the router of the cluster.
pub const CORE_ASN: u32 = 65000;
/// AS number of the outside host.
pub const OUTSIDE_ASN: u32 = 65200;

/// A router of a rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Its place in the rack.
    pub endpoint: Endpoint,
    /// Its link to the router of the cluster.
    pub uplink: Uplink,
    /// What speaks BGP on it.
    pub daemon: Daemon,
    /// Its AS number.
    pub asn: u32,
}

/// A link between two routers; at the router of the rack it is eth1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The name of its device at the router of the cluster.
    pub device: String,
    /// The addresses of the router of the cluster on it.
    pub core: Vec<IpNet>,
    /// The addresses of the router of the rack on it.
    pub router: Vec<IpNet>,
}

impl Router {
    /// The router number `number` of a cluster, from 0.
    pub(super) fn new(
        spec: &ClusterSpec,
        number: u8,
        router: &RouterSpec,
        endpoint: Endpoint,
    ) -> Self {
        let ends = |end: u8| {
            let last = 2 * number + end;
            let v4 = Ipv4Net::new_assert(Ipv4Addr::new(172, 30, 240, last), 31);
            let v6 = Ipv6Addr::new(0xfd00, 0x30, 0xf0, 0, 0, 0, 0, last.into());
            [v4.into(), Ipv6Net::new_assert(v6, 127).into()]
                .into_iter()
                .filter(|net| spec.families.include(net))
                .collect()
        };
        Self {
            uplink: Uplink {
                device: format!("up-{}", router.name),
                core: ends(0),
                router: ends(1),
            },
            endpoint,
            daemon: router.daemon,
            asn: router.asn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn a_rack_has_routers_in_the_place_of_the_common_one() {
        let spec = ClusterSpec::ecmp("x").validated().expect("valid");
        let plan = Plan::new(&spec, 0);
        let shown: Vec<String> = plan
            .routers
            .iter()
            .map(|router| {
                let address = |nets: &[IpNet]| nets[0].to_string();
                let Uplink {
                    device,
                    core,
                    router: own,
                } = &router.uplink;
                let rack = address(&router.endpoint.addresses);
                format!("{rack} {device} {} {}", address(core), address(own))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "172.30.1.1/24 up-tor-a 172.30.240.0/31 172.30.240.1/31",
                "172.30.1.2/24 up-tor-a2 172.30.240.2/31 172.30.240.3/31",
                "172.30.2.1/24 up-tor-b 172.30.240.4/31 172.30.240.5/31",
            ]
        );
        let node = plan.endpoint("node1").expect("planned");
        assert_eq!(node.gateways, plan.routers[0].endpoint.ips());
        assert!(plan.subnets[0].rack && !plan.subnets[2].rack);
    }
}
