//! Devices that are not the underlay: those of pods, bridges of container runtimes, tunnels.

use super::candidate::Refusal;
use super::facts::LinkFacts;

/// Devices of pods, container runtimes and Kubernetes networks. Their addresses are never
/// the node's.
const NEVER: &[&str] = &[
    "lo",
    "weft*",
    "kube-*",
    "nodelocaldns",
    "docker*",
    "podman*",
    "nerdctl*",
    "lxdbr*",
    "virbr*",
    "vnet*",
    "br-????????????",
    "cni*",
    "cbr*",
    "veth*",
    "cali*",
    "lxc*",
    "cilium*",
    "flannel*",
    "antrea*",
    "ovn*",
    "ovs*",
    "weave",
    "datapath",
    "vxlan*",
    "tunl*",
    "dummy*",
    "ifb*",
];

/// Kinds of tunnels and of devices without a wire. Someone may run a cluster over a VPN, so
/// they serve if they are named.
const UNLESS_NAMED: &[&str] = &[
    "vxlan",
    "geneve",
    "gre",
    "gretap",
    "erspan",
    "ip6gre",
    "ip6gretap",
    "ip6erspan",
    "ipip",
    "ip6tnl",
    "sit",
    "vti",
    "vti6",
    "wireguard",
    "tun",
    "dummy",
    "ifb",
    "ovpn",
    "xfrm",
    "nlmon",
];

/// Why a device cannot be the underlay, if it cannot. `named`: its own name was asked for.
pub(super) fn refusal(link: &LinkFacts, named: bool) -> Option<Refusal> {
    let name = link.name.as_str();
    if NEVER.iter().any(|pattern| matches(pattern, name)) {
        return Some(Refusal::PodDevice);
    }
    if !named && UNLESS_NAMED.contains(&link.kind.as_str()) {
        return Some(Refusal::Tunnel(link.kind.clone()));
    }
    (!link.usable).then_some(Refusal::Down)
}

/// Whether a name matches a pattern: `*` stands for any text, `?` for any one character.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            let mut ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
            ends.any(|at| matches(rest, &name[at..]))
        }
        Some(want) => {
            let mut chars = name.chars();
            chars
                .next()
                .is_some_and(|found| want == '?' || want == found)
                && matches(&pattern[want.len_utf8()..], chars.as_str())
        }
    }
}

/// Whether a pattern is simply a name.
pub(super) fn is_name(pattern: &str) -> bool {
    !pattern.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("eth0", "eth0", true)]
    #[case("eth0", "eth01", false)]
    #[case("eth*", "eth0", true)]
    #[case("eth*", "eth", true)]
    #[case("e*0", "enp3s0", true)]
    #[case("e*0", "enp3s1", false)]
    #[case("en?3s0", "enp3s0", true)]
    #[case("*", "", true)]
    #[case("?", "", false)]
    #[case("**a*", "bac", true)]
    fn patterns(#[case] pattern: &str, #[case] name: &str, #[case] expected: bool) {
        assert_eq!(matches(pattern, name), expected);
    }

    #[rstest]
    #[case("eth0", "", None)]
    #[case("eth0", "veth", None)]
    #[case("br0", "bridge", None)]
    #[case("bond0.7", "vlan", None)]
    #[case("br-0123456789ab", "bridge", Some(Refusal::PodDevice))]
    #[case("docker0", "bridge", Some(Refusal::PodDevice))]
    #[case("weft.vx4", "vxlan", Some(Refusal::PodDevice))]
    #[case("kube-ipvs0", "dummy", Some(Refusal::PodDevice))]
    #[case("cali0123456789a", "veth", Some(Refusal::PodDevice))]
    #[case("wg0", "wireguard", Some(Refusal::Tunnel("wireguard".into())))]
    fn devices(#[case] name: &str, #[case] kind: &str, #[case] expected: Option<Refusal>) {
        let name = name.parse().unwrap();
        let link = LinkFacts {
            name,
            kind: kind.into(),
            mtu: 1500,
            usable: true,
        };
        assert_eq!(refusal(&link, false), expected);
        let named = expected.filter(|refusal| *refusal == Refusal::PodDevice);
        assert_eq!(refusal(&link, true), named, "named");
        assert!(
            refusal(
                &LinkFacts {
                    usable: false,
                    ..link
                },
                true
            )
            .is_some(),
            "down"
        );
    }
}
