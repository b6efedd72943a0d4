//! The address of this node in the underlay, and the link-layer address of its VXLAN devices.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_crds::{NodeAddressMethod, NodeAddressSettings};
use weft_kernel::Mac;
use weft_kernel::underlay::{self, Method, NodeAddress};

/// Where this node is in the underlay. To look means to read as many routes as there are peers, so what
/// was found is kept.
#[derive(Debug, Default)]
pub struct Finder {
    found: Option<(NodeAddressSettings, Vec<IpAddr>, NodeAddress)>,
}

impl Finder {
    /// What was found before by the same settings, or else what there is now.
    ///
    /// # Errors
    /// In words: what was looked for, what was found instead, and what to do.
    pub async fn find(
        &mut self,
        settings: &NodeAddressSettings,
        internal_ips: &[IpAddr],
    ) -> Result<NodeAddress, String> {
        if let Some((of_settings, of_ips, found)) = &self.found
            && of_settings == settings
            && of_ips == internal_ips
        {
            return Ok(found.clone());
        }
        let found = find(settings, internal_ips).await?;
        self.found = Some((settings.clone(), internal_ips.to_vec(), found.clone()));
        Ok(found)
    }

    /// Has it look again the next time.
    pub fn forget(&mut self) {
        self.found = None;
    }
}

async fn find(
    settings: &NodeAddressSettings,
    internal_ips: &[IpAddr],
) -> Result<NodeAddress, String> {
    let method = method(settings, internal_ips)?;
    let reach = match &method {
        Method::CanReach(target) => Some(*target),
        _ => None,
    };
    let facts = underlay::read(reach)
        .await
        .map_err(|error| error.to_string())?;
    underlay::choose_address(&method, &facts).map_err(|error| error.to_string())
}

fn method(settings: &NodeAddressSettings, internal_ips: &[IpAddr]) -> Result<Method, String> {
    Ok(match settings.method {
        NodeAddressMethod::NodeInternalIP => Method::NodeInternalIp(internal_ips.to_vec()),
        NodeAddressMethod::CIDR => {
            let parse = |text: &String| {
                text.parse().map_err(|_| {
                    format!("spec.nodeAddress.cidrs: {text:?} is no address range; correct it")
                })
            };
            Method::Cidr(
                settings
                    .cidrs
                    .iter()
                    .map(parse)
                    .collect::<Result<_, String>>()?,
            )
        }
        NodeAddressMethod::Interface => Method::Interface(settings.interfaces.clone()),
        NodeAddressMethod::CanReach => {
            let target = settings.target.as_deref().unwrap_or_default();
            Method::CanReach(target.parse().map_err(|_| {
                format!("spec.nodeAddress.target: {target:?} is no IP address; correct it")
            })?)
        }
    })
}

/// A link-layer address that follows from the name of the node, so that it is the same after a boot
/// from an empty disk and peers need not be told anew. It is locally administered.
pub fn mac_of(node: &str) -> Mac {
    // FNV-1a, 64 bits.
    let hash = node.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    Mac([0x02, a, b, c, d, e])
}

/// The address, if it is IPv4.
pub fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// The address, if it is IPv6.
pub fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}
