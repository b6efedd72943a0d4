//! The objects that the API server is fed, and parts of what it has to answer. No parts: accepted.

pub mod bgp;

use serde_json::{Value, json};

type Parts = Vec<&'static str>;

/// A config that is good.
pub fn config() -> Value {
    json!({"mode": "Overlay", "pools": [{"cidr": "10.244.0.0/16"}, {"cidr": "fd00:10:244::/56"}]})
}

fn pools(list: Value) -> Value {
    json!({ "pools": list })
}

fn pool(cidr: &str) -> Value {
    pools(json!([{ "cidr": cidr }]))
}

fn sized(cidr: &str, size: Value) -> Value {
    pools(json!([{"cidr": cidr, "blockSize": size}]))
}

/// Specs that are laid over [`config`] and refused.
pub fn bad_configs() -> Vec<(Value, Parts)> {
    let syntax = || vec!["spec.pools[0]", "cidr:", "10.244.0.0/16"];
    let reserved = || vec!["spec.pools[0]", "cidr:", "choose a private range"];
    let host_bits = || vec!["spec.pools[0]", "cidr:", "write the network address"];
    let spelling = || vec!["spec.pools[0]", "cidr:", "canonical form"];
    let range = || {
        vec![
            "spec.pools[0]",
            "blockSize:",
            "from 16 to 29",
            "from 96 to 125",
        ]
    };
    let fits = || vec!["spec.pools[0]", "blockSize:", "make blockSize at least"];
    let overlap = || vec!["spec.pools", "disjoint"];
    let address = |value: Value| json!({ "nodeAddress": value });
    let agent = |value: Value| json!({ "agent": value });
    let migration = |value: Value| json!({ "migration": value });
    let max = || vec!["spec.agent", "maxUnavailable:", "at least 1", "1% to 100%"];
    vec![
        (json!({"mode": null}), vec!["spec.mode", "Required"]),
        (json!({"mode": "overlay"}), vec!["spec.mode", "\"Overlay\""]),
        (json!({"mode": "VXLAN"}), vec!["spec.mode", "\"Overlay\""]),
        (json!({"pools": null}), vec!["spec.pools", "Required"]),
        (pools(json!([])), vec!["spec.pools", "at least 1"]),
        (pools(json!([{}])), vec!["spec.pools[0].cidr", "Required"]),
        (pool(""), vec!["spec.pools[0].cidr", "at least 1 char"]),
        (pool("10.244.0.0"), syntax()),
        (pool("10.244.0.0/33"), syntax()),
        (pool("10.244.0/16"), syntax()),
        (pool("010.244.0.0/16"), syntax()),
        (pool("10.244.0.0/016"), syntax()),
        (pool("10.244.0.0-10.244.255.255"), syntax()),
        (pool("pods.example.org/16"), syntax()),
        (pool("fd00::/129"), syntax()),
        (pool("fd00:::/64"), syntax()),
        (pool("::ffff:10.244.0.0/112"), syntax()),
        (pool("fd00::%eth0/64"), syntax()),
        (pool("10.244.0.1/16"), host_bits()),
        (pool("10.244.8.0/16"), host_bits()),
        (pool("fd00::1/64"), host_bits()),
        (pool("FD00:10:244::/56"), spelling()),
        (pool("fd00:10:0244::/56"), spelling()),
        (pool("fd00:10:244:0::/56"), spelling()),
        (pool("127.0.0.0/8"), reserved()),
        (pool("127.1.0.0/16"), reserved()),
        (pool("0.0.0.0/0"), reserved()),
        (pool("0.0.0.0/8"), reserved()),
        (pool("169.254.0.0/16"), reserved()),
        (pool("224.0.0.0/4"), reserved()),
        (pool("240.0.0.0/8"), reserved()),
        (pool("::/0"), reserved()),
        (pool("::1/128"), reserved()),
        (pool("64:ff9b::/96"), reserved()),
        (pool("fe80::/64"), reserved()),
        (pool("ff00::/16"), reserved()),
        (
            sized("10.244.0.0/8", json!(26)),
            vec!["spec.pools[0]", "cidr:", "write the network address"],
        ),
        (sized("10.0.0.0/8", json!(15)), range()),
        (sized("10.244.0.0/16", json!(30)), range()),
        (sized("10.244.0.0/16", json!(32)), range()),
        (sized("10.244.0.0/16", json!(122)), range()),
        (sized("fd00::/64", json!(95)), range()),
        (sized("fd00::/64", json!(126)), range()),
        (sized("fd00::/64", json!(26)), range()),
        (
            sized("10.244.0.0/16", json!(0)),
            vec!["spec.pools[0].blockSize", "greater than or equal to 1"],
        ),
        (
            sized("10.244.0.0/16", json!(200)),
            vec!["spec.pools[0].blockSize", "less than or equal to 128"],
        ),
        (
            sized("10.244.0.0/16", json!("26")),
            vec!["spec.pools[0].blockSize", "must be of type integer"],
        ),
        (sized("10.244.0.0/24", json!(20)), fits()),
        (pool("10.244.0.0/27"), fits()),
        (pool("fd00::/124"), fits()),
        (
            pools(json!([{"cidr": "10.244.0.0/16"}, {"cidr": "10.244.0.0/16"}])),
            vec!["spec.pools[1]", "Duplicate"],
        ),
        (
            pools(json!([{"cidr": "10.244.0.0/16"}, {"cidr": "10.244.64.0/20"}])),
            overlap(),
        ),
        (
            pools(json!([{"cidr": "10.244.64.0/20"}, {"cidr": "10.244.0.0/16"}])),
            overlap(),
        ),
        (
            pools(json!([{"cidr": "fd00::/48"}, {"cidr": "fd00:0:0:7::/64"}])),
            overlap(),
        ),
        (
            pools(json!([{"cidr": "10.244.0.0/16", "disabled": true}])),
            vec![
                "spec.pools",
                "every pool is disabled",
                "set disabled: false",
            ],
        ),
        (
            pools(Value::Array(
                (0..17)
                    .map(|i| json!({"cidr": format!("10.{i}.0.0/16")}))
                    .collect(),
            )),
            vec!["spec.pools", "at most 16"],
        ),
        (
            pools(json!([{"cidr": "10.244.0.0/16", "disabled": "yes"}])),
            vec!["spec.pools[0].disabled", "must be of type boolean"],
        ),
        (
            json!({"mtu": 575}),
            vec!["spec.mtu", "greater than or equal to 576"],
        ),
        (
            json!({"mtu": 70000}),
            vec!["spec.mtu", "less than or equal to 65465"],
        ),
        (
            json!({"mtu": 1279}),
            vec!["mtu:", "IPv6 needs at least 1280", "raise mtu"],
        ),
        (
            json!({"overlay": {"encapsulation": "Never"}}),
            vec!["spec.overlay.encapsulation", "\"Always\", \"CrossSubnet\""],
        ),
        (
            json!({"overlay": {"vni": 0}}),
            vec!["spec.overlay.vni", "greater than or equal to 1"],
        ),
        (
            json!({"overlay": {"vni": 16777216}}),
            vec!["spec.overlay.vni", "less than or equal to 16777215"],
        ),
        (
            json!({"overlay": {"port": 0}}),
            vec!["spec.overlay.port", "greater than or equal to 1"],
        ),
        (
            json!({"overlay": {"port": 65536}}),
            vec!["spec.overlay.port", "less than or equal to 65535"],
        ),
        (
            json!({"kubeProxy": {"masqueradeBit": 16}}),
            vec!["spec.kubeProxy.masqueradeBit", "less than or equal to 15"],
        ),
        (
            json!({"kubeProxy": {"masqueradeBit": -1}}),
            vec!["spec.kubeProxy.masqueradeBit", "greater than or equal to 0"],
        ),
        (
            json!({"ipam": {"maxBlocksPerNode": 0}}),
            vec!["spec.ipam.maxBlocksPerNode", "greater than or equal to 1"],
        ),
        (
            json!({"ipam": {"maxBlocksPerNode": 1025}}),
            vec!["spec.ipam.maxBlocksPerNode", "less than or equal to 1024"],
        ),
        (
            json!({"ipam": {"blockCooldownSeconds": -1}}),
            vec![
                "spec.ipam.blockCooldownSeconds",
                "greater than or equal to 0",
            ],
        ),
        (
            json!({"ipam": {"blockCooldownSeconds": 86401}}),
            vec![
                "spec.ipam.blockCooldownSeconds",
                "less than or equal to 86400",
            ],
        ),
        (
            json!({"ipam": {"emptyBlockSeconds": 9}}),
            vec!["spec.ipam.emptyBlockSeconds", "greater than or equal to 10"],
        ),
        (
            address(json!({"method": "Guess"})),
            vec!["spec.nodeAddress.method", "\"CanReach\""],
        ),
        (
            address(json!({"method": "CIDR"})),
            vec!["spec.nodeAddress", "cidrs:", "set cidrs"],
        ),
        (
            address(json!({"method": "CIDR", "cidrs": []})),
            vec!["spec.nodeAddress", "cidrs:", "set cidrs"],
        ),
        (
            address(json!({"method": "CIDR", "cidrs": ["192.0.2.0"]})),
            vec!["spec.nodeAddress", "cidrs:", "192.0.2.0/24"],
        ),
        (
            address(json!({"cidrs": ["192.0.2.0/24"]})),
            vec![
                "spec.nodeAddress",
                "cidrs:",
                "remove cidrs, or set method: CIDR",
            ],
        ),
        (
            address(json!({"method": "Interface"})),
            vec!["spec.nodeAddress", "interfaces:", "set interfaces"],
        ),
        (
            address(json!({"interfaces": ["eth0"]})),
            vec![
                "spec.nodeAddress",
                "interfaces:",
                "remove interfaces, or set method: Interface",
            ],
        ),
        (
            address(json!({"method": "Interface", "interfaces": ["eth0/1"]})),
            vec!["spec.nodeAddress", "interfaces:", "eth*"],
        ),
        (
            address(json!({"method": "Interface", "interfaces": ["a-name-that-is-too-long"]})),
            vec!["spec.nodeAddress.interfaces[0]", "than 15"],
        ),
        (
            address(json!({"method": "CanReach"})),
            vec!["spec.nodeAddress", "target:", "set target"],
        ),
        (
            address(json!({"target": "192.0.2.1"})),
            vec![
                "spec.nodeAddress",
                "target:",
                "remove target, or set method: CanReach",
            ],
        ),
        (
            address(json!({"method": "CanReach", "target": "example.org"})),
            vec!["spec.nodeAddress", "target:", "192.0.2.1"],
        ),
        (
            agent(json!({"image": ""})),
            vec!["spec.agent.image", "at least 1 char"],
        ),
        (agent(json!({"maxUnavailable": 0})), max()),
        (agent(json!({"maxUnavailable": "0%"})), max()),
        (agent(json!({"maxUnavailable": "101%"})), max()),
        (agent(json!({"maxUnavailable": "half"})), max()),
        (
            agent(json!({"logLevel": "Trace"})),
            vec!["spec.agent.logLevel", "\"Debug\""],
        ),
        (
            migration(json!({"waves": 0})),
            vec!["spec.migration.waves", "greater than or equal to 1"],
        ),
        (
            migration(json!({"waves": 101})),
            vec!["spec.migration.waves", "less than or equal to 100"],
        ),
        (
            migration(json!({"bakeSeconds": -1})),
            vec!["spec.migration.bakeSeconds", "greater than or equal to 0"],
        ),
        (
            migration(json!({"bakeSeconds": 86401})),
            vec!["spec.migration.bakeSeconds", "less than or equal to 86400"],
        ),
        (
            migration(json!({"lossBudgetPermille": 1001})),
            vec![
                "spec.migration.lossBudgetPermille",
                "less than or equal to 1000",
            ],
        ),
        (
            migration(json!({"lossBudgetPermille": "1%"})),
            vec![
                "spec.migration.lossBudgetPermille",
                "must be of type integer",
            ],
        ),
        (
            migration(json!({"approval": "Never"})),
            vec!["spec.migration.approval", "\"Manual\""],
        ),
        (
            migration(json!({"unableNodes": "Skip"})),
            vec!["spec.migration.unableNodes", "\"LeaveOut\""],
        ),
        (
            migration(json!({"canarySelector": {}})),
            vec![
                "spec.migration",
                "canarySelector:",
                "leave it out to have no canaries",
            ],
        ),
        (
            migration(json!({"canarySelector": {"canary": 1}})),
            vec!["spec.migration.canarySelector.canary", "string"],
        ),
    ]
}

/// Specs that are laid over [`config`] and accepted.
pub fn good_configs() -> Vec<Value> {
    vec![
        json!({}),
        pool("10.244.0.0/16"),
        pool("fd00:10:244::/56"),
        pool("100.64.0.0/10"),
        pool("10.244.0.0/26"),
        sized("10.0.0.0/8", json!(16)),
        sized("10.244.0.0/24", json!(29)),
        sized("fd00::/64", json!(125)),
        pools(json!([{"cidr": "10.0.0.0/16"}, {"cidr": "10.1.0.0/16", "disabled": true}])),
        pools(Value::Array(
            (0..16)
                .map(|i| json!({"cidr": format!("10.{i}.0.0/16")}))
                .collect(),
        )),
        json!({"mtu": 1280}),
        json!({"mtu": 600, "pools": [{"cidr": "10.244.0.0/16"}]}),
        json!({"overlay": {"encapsulation": "CrossSubnet", "vni": 16777215, "port": 8472}}),
        json!({"nodeAddress": {"method": "CIDR", "cidrs": ["192.0.2.0/24", "2001:db8::/64"]}}),
        json!({"nodeAddress": {"method": "Interface", "interfaces": ["eth*", "bond0.100"]}}),
        json!({"nodeAddress": {"method": "CanReach", "target": "2001:db8::1"}}),
        json!({"agent": {"maxUnavailable": 3}}),
        json!({"agent": {"maxUnavailable": "25%", "image": "example.org/weft:1", "logLevel": "Debug"}}),
        json!({"ipam": {"maxBlocksPerNode": 1, "blockCooldownSeconds": 0, "emptyBlockSeconds": 10}}),
        json!({"migration": {"approval": "Manual", "paused": true, "waves": 100, "bakeSeconds": 0, "lossBudgetPermille": 0, "canarySelector": {"canary": "yes"}, "unableNodes": "LeaveOut"}}),
    ]
}

/// Specs laid over [`config`], patches of them, and the answer.
pub fn config_updates() -> Vec<(Value, Value, Parts)> {
    let two = |disabled: bool| {
        pools(json!([{"cidr": "10.244.0.0/16", "disabled": disabled}, {"cidr": "10.9.0.0/16"}]))
    };
    let in_use = || vec!["spec.pools", "first set disabled: true"];
    let size = || vec!["spec.pools[0]", "blockSize:", "add a second pool"];
    vec![
        (json!({"mode": "Overlay"}), json!({"mode": "BGP"}), vec![]),
        (json!({"mode": "BGP"}), json!({"mode": "Overlay"}), vec![]),
        (two(false), pool("10.9.0.0/16"), in_use()),
        (pool("10.244.0.0/16"), pool("10.245.0.0/16"), in_use()),
        (two(true), pool("10.9.0.0/16"), vec![]),
        (two(false), two(true), vec![]),
        (two(true), two(false), vec![]),
        (pool("10.9.0.0/16"), two(false), vec![]),
        (
            sized("10.244.0.0/16", json!(26)),
            sized("10.244.0.0/16", json!(27)),
            size(),
        ),
        (
            pool("10.244.0.0/16"),
            sized("10.244.0.0/16", json!(24)),
            size(),
        ),
        (sized("fd00::/64", json!(120)), pool("fd00::/64"), size()),
        (
            pool("10.244.0.0/16"),
            sized("10.244.0.0/16", json!(26)),
            vec![],
        ),
        (
            pools(json!([{"cidr": "10.244.0.0/16", "disabled": true}, {"cidr": "fd00::/64"}])),
            pool("fd00::/64"),
            vec![
                "spec.pools",
                "last pool of an address family",
                "keep one pool",
            ],
        ),
        (pool("10.244.0.0/16"), config(), vec![]),
        (json!({}), json!({"mtu": 1279}), vec!["mtu:", "raise mtu"]),
        (json!({"mtu": 1400}), json!({"mtu": null}), vec![]),
        (
            json!({}),
            json!({"overlay": {"encapsulation": "CrossSubnet"}}),
            vec![],
        ),
        (json!({}), json!({"overlay": {"vni": 99}}), vec![]),
        (
            json!({}),
            pools(json!([])),
            vec!["spec.pools", "at least 1"],
        ),
    ]
}

/// A block that is good under the name 10-244-0-64-26.
pub fn block() -> Value {
    json!({"cidr": "10.244.0.64/26", "pool": "10.244.0.0/16", "node": "a", "nodeUID": "uid-a"})
}

/// Names, specs laid over [`block`], and the answer.
pub fn blocks() -> Vec<(&'static str, Value, Parts)> {
    let name = "10-244-0-64-26";
    let owner = || vec!["node and nodeUID:", "releasedAt unset"];
    let released = "2026-01-01T00:00:00Z";
    vec![
        (name, json!({}), vec![]),
        (
            "fd00--40-122",
            json!({"cidr": "fd00::40/122", "pool": "fd00::/64"}),
            vec![],
        ),
        (
            name,
            json!({"node": null, "nodeUID": null, "releasedAt": released}),
            vec![],
        ),
        (
            "another",
            json!({}),
            vec!["metadata.name", "spec.cidr with"],
        ),
        (
            name,
            json!({"cidr": "10.244.0.65/26"}),
            vec!["cidr:", "canonical"],
        ),
        (
            "fd00-0--40-122",
            json!({"cidr": "fd00:0::40/122", "pool": "fd00::/64"}),
            vec!["cidr:", "canonical"],
        ),
        (
            name,
            json!({"cidr": "nonsense"}),
            vec!["cidr:", "canonical"],
        ),
        (
            name,
            json!({"pool": "10.9.0.0/16"}),
            vec!["pool:", "holds cidr"],
        ),
        (
            name,
            json!({"pool": "fd00::/64"}),
            vec!["pool:", "holds cidr"],
        ),
        (name, json!({"nodeUID": null}), owner()),
        (name, json!({"node": null}), owner()),
        (name, json!({"node": null, "nodeUID": null}), owner()),
        (name, json!({"releasedAt": released}), owner()),
    ]
}

/// Specs laid over [`block`], patches of them, and the answer.
pub fn block_updates() -> Vec<(Value, Value, Parts)> {
    let released = "2026-01-01T00:00:00Z";
    let free = || json!({"node": null, "nodeUID": null, "releasedAt": released});
    let immutable = || vec!["can't change", "create another"];
    let handover = || vec!["node:", "release it first"];
    vec![
        (json!({}), json!({"draining": true}), vec![]),
        (json!({}), free(), vec![]),
        (
            free(),
            json!({"node": "b", "nodeUID": "uid-b", "releasedAt": null}),
            vec![],
        ),
        (
            json!({}),
            json!({"node": "b", "nodeUID": "uid-b"}),
            handover(),
        ),
        (json!({}), json!({"nodeUID": "uid-of-a-new-a"}), handover()),
        (json!({}), json!({"pool": "10.244.0.0/17"}), immutable()),
        (json!({}), json!({"cidr": "10.244.0.128/26"}), immutable()),
    ]
}

/// Specs of NodeNetwork, and the answer.
pub fn networks() -> Vec<(Value, Parts)> {
    let good = json!({"nodeUID": "u", "ipv4": "192.0.2.7/24", "mac": "02:00:00:00:00:07", "nodePodAddresses": ["10.244.0.1"], "mtu": 1500});
    let with = |over: Value| super::merged(&good, &over);
    vec![
        (good.clone(), vec![]),
        (
            with(json!({"mac": "02-00-00-00-00-07"})),
            vec!["spec.mac", "should match"],
        ),
        (
            with(json!({"nodePodAddresses": ["10.244.0.1", "fd00::1", "fd00::2"]})),
            vec!["spec.nodePodAddresses", "at most 2"],
        ),
        (
            with(json!({"nodeUID": null})),
            vec!["spec.nodeUID", "Required"],
        ),
        (with(json!({"bgp": {"asn": 64512}})), vec![]),
        (with(json!({"bgp": {}})), vec!["spec.bgp.asn", "Required"]),
        (
            with(json!({"mtu": -1})),
            vec!["spec.mtu", "greater than or equal to 0"],
        ),
    ]
}

/// Specs of NodeReport, and the answer.
pub fn reports() -> Vec<(Value, Parts)> {
    let good =
        json!({"nodeUID": "u", "agentVersion": "0.1.0", "forwarding": true, "summary": "0/0"});
    let peers: Vec<_> = (0..65)
        .map(|i| json!({"node": format!("n{i}"), "answers": true}))
        .collect();
    let session = |state: &str| json!({"address": "192.0.2.1", "asn": 64512, "state": state});
    let sessions = |all: Vec<Value>| super::merged(&good, &json!({ "sessions": all }));
    vec![
        (good.clone(), vec![]),
        (sessions(vec![session("Established")]), vec![]),
        (
            sessions(vec![session("established")]),
            vec!["spec.sessions[0].state", "\"Established\""],
        ),
        (
            sessions(vec![session("Idle"); 65]),
            vec!["spec.sessions", "at most 64"],
        ),
        (
            super::merged(&good, &json!({ "peers": peers })),
            vec!["spec.peers", "at most 64"],
        ),
        (
            super::merged(&good, &json!({"forwarding": null})),
            vec!["spec.forwarding", "Required"],
        ),
    ]
}
