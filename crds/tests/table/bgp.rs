//! What an admin says of BGP, and parts of what the API server has to answer.

use serde_json::{Value, json};

use super::Parts;

/// Settings of the nodes.
pub fn settings() -> Vec<(Value, Parts)> {
    let asn = || vec!["spec.bgp.asn"];
    let reserved = || vec!["spec.bgp.asn", "reserved", "choose another"];
    let labels = json!({"rack": "a"});
    let reflectors = json!({"nodeSelector": labels});
    let cluster = |id: &str| json!({"nodeMesh": false, "routeReflectors": {"nodeSelector": {"rr": "yes"}, "clusterID": id}});
    let cluster_id = || {
        vec![
            "spec.bgp.routeReflectors.clusterID",
            "clusterID:",
            "IPv4 address",
        ]
    };
    vec![
        (json!({}), vec![]),
        (json!({"asn": 4_200_000_000_u32}), vec![]),
        (json!({"asn": 0}), asn()),
        (json!({"asn": -1}), asn()),
        (json!({"asn": 4_294_967_295_u32}), asn()),
        (json!({"asn": "64512"}), asn()),
        (json!({"asn": 23456}), reserved()),
        (json!({"asn": 65535}), reserved()),
        (json!({"port": 0}), vec![]),
        (json!({"port": 65536}), vec!["spec.bgp.port", "65535"]),
        (
            json!({"restartSeconds": 4096}),
            vec!["spec.bgp.restartSeconds", "4095"],
        ),
        (
            json!({"longLivedSeconds": 16_777_216}),
            vec!["spec.bgp.longLivedSeconds", "16777215"],
        ),
        (
            json!({"routeReflectors": reflectors}),
            vec!["spec.bgp", "set nodeMesh: false"],
        ),
        (
            json!({"nodeMesh": false, "routeReflectors": reflectors}),
            vec![],
        ),
        (
            json!({"nodeMesh": false, "routeReflectors": {"nodeSelector": {}}}),
            vec!["spec.bgp.routeReflectors.nodeSelector", "at least 1"],
        ),
        (cluster("10.0.0.1"), vec![]),
        (cluster("0.0.0.0"), cluster_id()),
        (cluster("1"), cluster_id()),
        (cluster("fd00::1"), cluster_id()),
        (
            json!({"nodeASNs": [{"nodeSelector": labels, "asn": 64513}]}),
            vec![],
        ),
        (
            json!({"nodeASNs": [{"nodeSelector": labels, "asn": 23456}]}),
            vec!["spec.bgp.nodeASNs[0].asn", "reserved"],
        ),
        (
            json!({"nodeASNs": [{"asn": 64513}]}),
            vec!["spec.bgp.nodeASNs[0].nodeSelector", "Required"],
        ),
    ]
}

/// A BGP peer that is good.
pub fn peer() -> Value {
    json!({"address": "192.0.2.1", "asn": 64512})
}

/// Specs that are laid over [`peer`].
pub fn peers() -> Vec<(Value, Parts)> {
    let address = || vec!["spec.address", "address:", "such as 192.0.2.1"];
    let source = || vec!["spec", "sourceAddress:", "same family"];
    let hops = || vec!["spec", "hops:", "reach: Multihop"];
    let hold = || vec!["spec.holdSeconds", "holdSeconds:", "at least 3"];
    let import = |range: Value| json!({"import": {"prefixes": [range]}});
    let lengths = || {
        vec![
            "spec.import.prefixes[0]",
            "minLength and maxLength:",
            "prefix length of cidr",
        ]
    };
    let community = |text: &str| json!({"export": {"communities": [text]}});
    let communities = || vec!["spec.export.communities", "such as 64512:100"];
    vec![
        (json!({}), vec![]),
        (json!({"address": null}), vec!["spec.address", "Required"]),
        (json!({"address": "router.example.org"}), address()),
        (json!({"address": "192.0.2.0/24"}), address()),
        (json!({"address": "0.0.0.0"}), address()),
        (json!({"address": "127.0.0.1"}), address()),
        (json!({"address": "224.0.0.5"}), address()),
        (json!({"address": "fe80::1"}), address()),
        (json!({"address": "2001:DB8::1"}), address()),
        (json!({"address": "2001:db8::1"}), vec![]),
        (json!({"asn": null}), vec!["spec.asn", "Required"]),
        (json!({"asn": 23456}), vec!["spec.asn", "reserved"]),
        (json!({"port": 0}), vec!["spec.port", "1"]),
        (json!({"holdSeconds": 0}), vec![]),
        (json!({"holdSeconds": 1}), hold()),
        (json!({"holdSeconds": 2}), hold()),
        (json!({"holdSeconds": 3}), vec![]),
        (json!({"reach": "TTLSecurity"}), vec![]),
        (json!({"reach": "Multihop"}), hops()),
        (json!({"hops": 3}), hops()),
        (json!({"reach": "TTLSecurity", "hops": 3}), hops()),
        (json!({"reach": "Multihop", "hops": 3}), vec![]),
        (
            json!({"reach": "Multihop", "hops": 1}),
            vec!["spec.hops", "2"],
        ),
        (json!({"reach": "Anyhow"}), vec!["spec.reach", "Multihop"]),
        (json!({"sourceAddress": "192.0.2.7"}), vec![]),
        (json!({"sourceAddress": "fd00::7"}), source()),
        (json!({"sourceAddress": "eth0"}), source()),
        (json!({"passwordSecret": {"name": "rack-a"}}), vec![]),
        (
            json!({"passwordSecret": {}}),
            vec!["spec.passwordSecret.name", "Required"],
        ),
        (import(json!({"cidr": "192.0.2.0/24"})), vec![]),
        (
            import(json!({"cidr": "192.0.2.1/24"})),
            vec!["spec.import.prefixes[0]", "cidr:", "without host bits"],
        ),
        (
            import(json!({"cidr": "0.0.0.0/0", "minLength": 8, "maxLength": 24})),
            vec![],
        ),
        (
            import(json!({"cidr": "10.0.0.0/8", "minLength": 7})),
            lengths(),
        ),
        (
            import(json!({"cidr": "10.0.0.0/8", "maxLength": 33})),
            lengths(),
        ),
        (
            import(json!({"cidr": "10.0.0.0/8", "minLength": 24, "maxLength": 16})),
            lengths(),
        ),
        (
            import(json!({"cidr": "fd00::/8", "minLength": 48, "maxLength": 64})),
            vec![],
        ),
        (
            json!({"import": {"maxPrefixes": 0}}),
            vec!["spec.import.maxPrefixes", "1"],
        ),
        (community("64512:100"), vec![]),
        (community("4200000000:1:2"), vec![]),
        (community("64512:65536"), communities()),
        (community("4294967296:1:2"), communities()),
        (community("no-export"), communities()),
        (community("1:2:3:4"), communities()),
        (
            json!({"export": {"prepend": 17}}),
            vec!["spec.export.prepend", "16"],
        ),
    ]
}
