//! BGPPeers as this node understands them: the routers that select it, and what is believed of and said to each.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use weft_bgp::policy::ranges::{Reserved, from_router};
use weft_bgp::policy::{Edit, Match, Policy, PrefixRange, Rule, Then};
use weft_bgp::route::community;
use weft_crds::{BGPPeerSpec, ExportSettings, ImportSettings, Reach};
use weft_kernel::tcp::Hops;

use super::topology::Router;

/// A router, of the BGPPeer of this name.
///
/// # Errors
/// In words, when a field can't be understood.
pub(super) fn router(name: &str, spec: &BGPPeerSpec) -> Result<Router, String> {
    let address = |field: &str, text: &str| {
        let parsed: Result<IpAddr, _> = text.parse();
        parsed
            .map_err(|_| format!("BGPPeer {name}: {field}: {text:?} is no IP address; correct it"))
    };
    let source = spec.source_address.as_deref();
    Ok(Router {
        name: name.to_owned(),
        address: address("address", &spec.address)?,
        port: spec.port,
        asn: spec.asn,
        hops: match (spec.reach, spec.hops) {
            (Reach::Direct, _) => Hops::One,
            (Reach::TTLSecurity, _) => Hops::OneAndNoMore,
            (Reach::Multihop, hops) => Hops::UpTo(hops.unwrap_or(u8::MAX)),
        },
        source: source
            .map(|text| address("sourceAddress", text))
            .transpose()?,
    })
}

/// What is believed of a router: blocks of nodes, and what the admin lets in. None of it is passed on.
pub(super) fn import(
    settings: &ImportSettings,
    blocks: Vec<PrefixRange>,
    reserved: &Reserved,
) -> Policy {
    let preference = settings.local_preference.map(Edit::LocalPref);
    let edits = [Edit::AddCommunity(community::NO_ADVERTISE)];
    let first = vec![
        Rule {
            when: Vec::new(),
            edits: edits.into_iter().chain(preference).collect(),
            then: Then::Continue,
        },
        Rule::new(vec![Match::Within(blocks)], Then::Accept),
    ];
    let mut ranges: Vec<PrefixRange> = settings.prefixes.iter().filter_map(range).collect();
    let when = if ranges.is_empty() {
        Vec::new()
    } else {
        if settings.default_route {
            ranges.extend(DEFAULT_ROUTES.map(PrefixRange::only));
        }
        vec![Match::Within(ranges)]
    };
    let filter = vec![Rule::new(when, Then::Accept)];
    from_router(first, reserved, settings.default_route, filter)
}

const DEFAULT_ROUTES: [IpNet; 2] = [
    IpNet::new_assert(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
    IpNet::new_assert(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 0),
];

/// The API server has checked the syntax.
fn range(range: &weft_crds::PrefixRange) -> Option<PrefixRange> {
    let net: IpNet = range.cidr.parse().ok()?;
    let all = PrefixRange::all_of(net);
    Some(PrefixRange {
        net,
        min: range.min_length.unwrap_or(all.min),
        max: range.max_length.unwrap_or(all.max),
    })
}

/// What a router is told: this node's own blocks, and no other's.
pub(super) fn export(settings: &ExportSettings, asn: u32, blocks: &[IpNet]) -> Arc<Policy> {
    let own = blocks.iter().copied().map(PrefixRange::only).collect();
    let mut edits: Vec<Edit> = settings
        .communities
        .iter()
        .filter_map(|text| community_edit(text))
        .collect();
    edits.extend(settings.local_preference.map(Edit::LocalPref));
    edits.extend(settings.med.map(Edit::Med));
    if settings.prepend > 0 {
        edits.push(Edit::Prepend(asn, settings.prepend));
    }
    Arc::new(Policy::new(vec![Rule {
        when: vec![Match::Within(own)],
        edits,
        then: Then::Accept,
    }]))
}

/// `64512:100` (RFC 1997) or `64512:1:2` (RFC 8092); the API server has checked the syntax.
fn community_edit(text: &str) -> Option<Edit> {
    let parts: Vec<u32> = text
        .split(':')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    match parts[..] {
        [asn, value] => Some(Edit::AddCommunity((asn << 16) | value)),
        [global, data1, data2] => Some(Edit::AddLargeCommunity((global, data1, data2))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use weft_bgp::route::Attributes;

    fn reserved() -> Reserved {
        Reserved {
            pools: vec!["10.244.0.0/16".parse().unwrap()],
            services: vec!["10.96.0.0/16".parse().unwrap()],
            nodes: vec!["192.0.2.2/32".parse().unwrap()],
        }
    }

    fn blocks() -> Vec<PrefixRange> {
        let net = "10.244.0.0/16".parse().unwrap();
        vec![PrefixRange {
            net,
            min: 26,
            max: 26,
        }]
    }

    #[rstest]
    #[case::block("10.244.3.0/26", true)]
    #[case::part_of_a_block("10.244.3.0/27", false)]
    #[case::pool("10.244.0.0/16", false)]
    #[case::more_than_the_pool("10.0.0.0/8", false)]
    #[case::services("10.96.0.0/24", false)]
    #[case::node("192.0.2.2/32", false)]
    #[case::subnet_of_a_node("192.0.2.0/24", false)]
    #[case::link_local("169.254.0.0/16", false)]
    #[case::default("0.0.0.0/0", false)]
    #[case::elsewhere("203.0.113.0/24", true)]
    fn by_default_the_world_is_believed_and_the_cluster_is_not_taken(
        #[case] prefix: &str,
        #[case] accepted: bool,
    ) {
        let policy = import(&ImportSettings::default(), blocks(), &reserved());
        let route = Attributes::plain("192.0.2.254".parse().unwrap(), &[64900]);
        let edits = policy.judge(&prefix.parse().unwrap(), &route);
        assert_eq!(edits.is_some(), accepted);
    }

    #[test]
    fn with_ranges_only_these_and_blocks_are_believed() {
        let settings = ImportSettings {
            prefixes: vec![weft_crds::PrefixRange {
                cidr: "203.0.113.0/24".into(),
                min_length: None,
                max_length: Some(25),
            }],
            default_route: true,
            local_preference: Some(50),
            ..ImportSettings::default()
        };
        let policy = import(&settings, blocks(), &reserved());
        let route = Attributes::plain("192.0.2.254".parse().unwrap(), &[64900]);
        let judged = |prefix: &str| {
            let mut edited = route.clone();
            let edits = policy.judge(&prefix.parse().unwrap(), &route)?;
            edits.apply(&mut edited);
            Some(edited)
        };
        for prefix in ["203.0.113.128/25", "0.0.0.0/0", "10.244.3.0/26"] {
            let edited = judged(prefix).unwrap();
            assert_eq!(edited.local_pref, Some(50));
            assert_eq!(edited.communities, [community::NO_ADVERTISE]);
        }
        assert!(judged("203.0.113.0/26").is_none() && judged("198.51.100.0/24").is_none());
    }

    #[test]
    fn a_router_is_told_of_own_blocks_with_what_was_asked_for() {
        let settings = ExportSettings {
            communities: vec!["64512:100".into(), "64512:1:2".into()],
            med: Some(7),
            prepend: 2,
            ..ExportSettings::default()
        };
        let own = ["10.244.1.0/26".parse().unwrap()];
        let policy = export(&settings, 64512, &own);
        let route = Attributes::plain("192.0.2.1".parse().unwrap(), &[]);
        assert!(
            policy
                .judge(&"10.244.2.0/26".parse().unwrap(), &route)
                .is_none()
        );
        let mut told = route.clone();
        policy.judge(&own[0], &route).unwrap().apply(&mut told);
        assert_eq!(told.communities, [(64512 << 16) | 100]);
        assert_eq!(told.large_communities.len(), 1);
        assert_eq!((told.med, told.path_count(64512)), (Some(7), 2));
    }
}
