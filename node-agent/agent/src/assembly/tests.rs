use std::net::Ipv4Addr;

use ipnet::IpNet;
use proptest::prelude::*;
use weft_crds::{Encapsulation, IPBlock, IPBlockSpec, NodeNetwork, NodeNetworkSpec};
use weft_kernel::plan;

use super::*;
use crate::intake::Intake;
use crate::testing::{config, here};
use crate::watch::{Change, Input};

/// Something that happens to the cluster.
#[derive(Debug, Clone)]
enum Event {
    /// Node `n` says that it is at this address, and has the node pod addresses of this number.
    Node(u8, u8, u8),
    NodeGone(u8),
    /// A block belongs to a node.
    Block(u8, u8),
    BlockFree(u8),
    BlockGone(u8),
    Encapsulation(bool),
    Mtu(bool),
    OwnBlocks(Vec<u8>),
}

fn an_event() -> impl Strategy<Value = Event> {
    let n = || 1..6u8;
    prop_oneof![
        4 => (n(), 1..4u8, n()).prop_map(|(n, address, pods)| Event::Node(n, address, pods)),
        4 => (n(), 1..9u8).prop_map(|(n, address)| Event::Node(n, address, n)),
        1 => n().prop_map(Event::NodeGone),
        4 => (1..9u8, n()).prop_map(|(block, n)| Event::Block(block, n)),
        1 => (1..9u8).prop_map(Event::BlockFree),
        1 => (1..9u8).prop_map(Event::BlockGone),
        1 => any::<bool>().prop_map(Event::Encapsulation),
        1 => any::<bool>().prop_map(Event::Mtu),
        1 => prop::collection::vec(1..9u8, 0..2).prop_map(Event::OwnBlocks),
    ]
}

fn node(n: u8, address: u8, pods: u8) -> NodeNetwork {
    let subnet = if address > 4 { "198.51.100" } else { "192.0.2" };
    let ipv6 = address
        .is_multiple_of(3)
        .then(|| format!("2001:db8::{address}/64"));
    let ipv4 = (!address.is_multiple_of(4)).then(|| format!("{subnet}.{address}/24"));
    let spec = NodeNetworkSpec {
        node_uid: format!("uid-{n}"),
        ipv4,
        ipv6,
        mac: format!("02:00:00:00:00:{pods:02x}"),
        node_pod_addresses: vec![format!("10.244.{pods}.1"), format!("fd00:10:244:{pods}::1")],
        mtu: 1500,
        ..NodeNetworkSpec::default()
    };
    NodeNetwork::new(&name(n), spec)
}

fn name(n: u8) -> String {
    ["b", "c", "d", "e", "f", "g"][usize::from(n) % 6].into()
}

fn range(block: u8) -> IpNet {
    IpNet::new_assert(Ipv4Addr::new(10, 244, block, 0).into(), 26)
}

fn block(block: u8, owner: Option<u8>) -> IPBlock {
    IPBlock::new(
        &format!("b{block}"),
        IPBlockSpec {
            cidr: range(block).to_string(),
            pool: "10.244.0.0/16".into(),
            node: owner.map(name),
            node_uid: owner.map(|n| format!("uid-{n}")),
            draining: false,
            released_at: None,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_changes_lead_to_what_is_made_from_nothing(
        events in prop::collection::vec((an_event(), any::<bool>()), 1..60)
    ) {
        let mut intake = Intake::default();
        let mut assembly = Assembly::default();
        let mut ground = Ground { config: config(Encapsulation::Always), here: here(1), mtu: 1450, proof_mtu: 1450 };
        let mut blocks: Vec<IpNet> = Vec::new();
        let mut assignment = Assignment::default();
        let mut carried_out = State::default();
        for (event, look) in events {
            match event {
                Event::Node(n, address, pods) => intake.take(Input::Nodes(Change::Applied(node(n, address, pods)))),
                Event::NodeGone(n) => intake.take(Input::Nodes(Change::Deleted(node(n, 1, 1)))),
                Event::Block(b, n) => intake.take(Input::Blocks(Change::Applied(block(b, Some(n))))),
                Event::BlockFree(b) => intake.take(Input::Blocks(Change::Applied(block(b, None)))),
                Event::BlockGone(b) => intake.take(Input::Blocks(Change::Deleted(block(b, None)))),
                Event::Encapsulation(always) => {
                    let of = if always { Encapsulation::Always } else { Encapsulation::CrossSubnet };
                    ground.config = config(of);
                }
                Event::Mtu(large) => ground.mtu = if large { 1450 } else { 1400 },
                Event::OwnBlocks(own) => blocks = own.into_iter().map(range).collect(),
            }
            if !look {
                continue;
            }
            let changed = intake.take_changed();
            match assembly.follow(ground.clone(), &changed, &intake.cluster, &View::default()) {
                Probes::All(all) => assignment = all,
                Probes::Of(changes) => changes.into_iter().for_each(|[before, after]| assignment.replace(before, after)),
            }
            let peers = intake.cluster.peers();
            let paths = mode::paths(&ground.config, &ground.here, &peers, &View::default(), &Paths::default());
            prop_assert_eq!(assembly.paths(), &paths);
            prop_assert_eq!(assembly.peers(), &peers[..]);
            let local = Local { blocks: &blocks, attachments: &[], sources_checked: true };
            let desired = network::desired(&inputs(&ground, &local, &peers, &paths));
            let (state, changed) = assembly.complete(&local, None);
            prop_assert_eq!(state, &desired);
            // Nothing differs that is not said to.
            if let Some(changed) = changed {
                for action in plan(&desired, &carried_out) {
                    let said = match &action {
                        weft_kernel::Action::AddRoute(key, _) | weft_kernel::Action::ReplaceRoute(key, _)
                        | weft_kernel::Action::DeleteRoute(key) => changed.routes.contains(key),
                        weft_kernel::Action::AddNexthop(id, _) | weft_kernel::Action::ReplaceNexthop(id, _)
                        | weft_kernel::Action::DeleteNexthop(id) => changed.nexthops.contains(id),
                        weft_kernel::Action::SetFdb(key, _) | weft_kernel::Action::DeleteFdb(key, _) => changed.fdb.contains(key),
                        weft_kernel::Action::SetNeighbour(key, _) | weft_kernel::Action::DeleteNeighbour(key) => changed.neighbours.contains(key),
                        _ => true,
                    };
                    prop_assert!(said, "{action} is not among {changed:?}");
                }
            }
            carried_out = desired;
            assembly.carried_out();
            let whole = Assignment::of(&peers, &paths, sizes(&ground));
            prop_assert_eq!(&assignment.targets, &whole.targets);
        }
    }
}
