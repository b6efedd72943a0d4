use proptest::prelude::*;
use rstest::rstest;

use super::super::testing::{attributes, id};
use super::*;
use crate::route::Segment;

/// A candidate that owns its attributes.
#[derive(Clone, Debug)]
struct Owned {
    attributes: Attributes,
    source: Source,
    cost: u32,
    router_id: u8,
    address: u8,
    path_id: u32,
}

fn candidates(paths: &[Owned]) -> Vec<Candidate<'_>> {
    let mut candidates = Vec::new();
    for path in paths {
        candidates.push(Candidate {
            attributes: &path.attributes,
            source: path.source,
            cost: path.cost,
            router_id: id(path.router_id),
            address: id(path.address).into(),
            path_id: path.path_id,
        });
    }
    candidates
}

fn ranking(paths: &[Owned]) -> Ranking {
    rank(&candidates(paths))
}

/// As bad as can be at every tie-break, by way of AS 64601.
fn worst() -> Owned {
    let mut attributes = attributes(&[64601, 64602]);
    attributes.origin = Origin::Incomplete;
    attributes.local_pref = Some(50);
    attributes.med = Some(9);
    attributes.communities = vec![community::LLGR_STALE];
    attributes.cluster_list = vec![id(1), id(2)];
    Owned {
        attributes,
        source: Source::Internal,
        cost: 20,
        router_id: 99,
        address: 99,
        path_id: 99,
    }
}

/// The tie-breaks in their order: each a change that is better there.
const BETTER: [fn(&mut Owned); 12] = [
    |path| path.attributes.communities.clear(),
    |path| path.attributes.local_pref = None,
    |path| path.source = Source::Local,
    |path| path.attributes.as_path = vec![Segment::Sequence(vec![64601])],
    |path| path.attributes.origin = Origin::Egp,
    |path| path.attributes.med = Some(8),
    |path| path.source = Source::External,
    |path| path.cost = 19,
    |path| path.router_id = 98,
    |path| path.attributes.cluster_list = vec![id(3)],
    |path| path.address = 98,
    |path| path.path_id = 98,
];

#[rstest]
#[case::llgr_stale(0, 1)]
#[case::local_pref(1, 1)]
#[case::locally_originated(2, 1)]
#[case::path_length(3, 1)]
#[case::origin(4, 1)]
#[case::med(5, 1)]
#[case::external(6, 1)]
#[case::igp_cost(7, 1)]
#[case::router_id(8, 2)]
#[case::cluster_list(9, 2)]
#[case::peer_address(10, 2)]
#[case::path_id(11, 2)]
fn tie_breaks(#[case] at: usize, #[case] equal: usize) {
    let mut one = worst();
    BETTER[at](&mut one);
    let mut other = worst();
    BETTER[at + 1..]
        .iter()
        .for_each(|better| better(&mut other));
    // Of two that are equal so far, either may have the better place in what follows.
    let paths = [one, other];
    assert_eq!(ranking(&paths).order, [0, 1]);
    let [one, other] = paths;
    assert_eq!(ranking(&[other, one]).order, [1, 0]);
    let mut single = [worst(), worst()];
    BETTER[at](&mut single[1]);
    let order = vec![1, 0];
    assert_eq!(ranking(&single), Ranking { order, equal });
}

fn sequence(ases: &[u32]) -> Segment {
    Segment::Sequence(ases.to_vec())
}

#[rstest]
#[case::a_set_counts_as_one(
    |a: &mut Owned| a.attributes.as_path = vec![sequence(&[1]), Segment::Set(vec![2, 3, 4])],
    |b: &mut Owned| b.attributes.as_path = vec![sequence(&[1, 2, 3])],
)]
#[case::no_local_pref_is_the_default(
    |a: &mut Owned| a.attributes.local_pref = None,
    |b: &mut Owned| b.attributes.local_pref = Some(99),
)]
#[case::no_med_is_the_lowest(
    |a: &mut Owned| a.attributes.med = None,
    |b: &mut Owned| b.attributes.med = Some(1),
)]
#[case::med_of_another_as_does_not_count(
    |a: &mut Owned| {
        a.attributes.as_path = vec![sequence(&[64609, 64602])];
        a.attributes.med = Some(100);
        a.router_id = 98;
    },
    |_: &mut Owned| {},
)]
#[case::med_among_paths_of_this_as(
    |a: &mut Owned| { a.attributes.as_path.clear(); a.attributes.med = Some(1) },
    |b: &mut Owned| { b.attributes.as_path.clear(); b.router_id = 1 },
)]
#[case::a_set_first_is_no_neighbour(
    |a: &mut Owned| { a.attributes.as_path = vec![Segment::Set(vec![5])]; a.attributes.med = Some(1) },
    |b: &mut Owned| { b.attributes.as_path = vec![Segment::Set(vec![6])]; b.router_id = 1 },
)]
#[case::originator_id_in_place_of_the_router_id(
    |a: &mut Owned| { a.attributes.originator_id = Some(id(97)) },
    |b: &mut Owned| b.router_id = 98,
)]
#[case::worse_originator_id(
    |a: &mut Owned| { a.router_id = 98 },
    |b: &mut Owned| { b.router_id = 97; b.attributes.originator_id = Some(id(99)) },
)]
fn details(#[case] one: fn(&mut Owned), #[case] other: fn(&mut Owned)) {
    let mut paths = [worst(), worst()];
    other(&mut paths[0]);
    one(&mut paths[1]);
    assert_eq!(ranking(&paths).order, [1, 0]);
}

/// RFC 3345's cycle: pairwise, a beats b by router ID, b beats c by MED, c beats a by IGP cost.
#[test]
fn med_is_compared_in_groups() {
    let path = |asn, med, cost, router_id| Owned {
        attributes: Attributes {
            med: Some(med),
            ..attributes(&[asn])
        },
        source: Source::Internal,
        cost,
        router_id,
        address: router_id,
        path_id: 0,
    };
    let (a, b, c) = (path(1, 0, 10, 3), path(2, 5, 10, 2), path(2, 4, 11, 1));
    assert_eq!(ranking(&[a.clone(), b.clone()]).order, [1, 0]);
    assert_eq!(ranking(&[a.clone(), b.clone(), c.clone()]).order, [0, 2, 1]);
    assert_eq!(ranking(&[c, b, a]).order, [2, 0, 1]);
}

#[test]
fn nothing_to_rank() {
    let order = Vec::new();
    assert_eq!(rank(&[]), Ranking { order, equal: 0 });
}

/// Few values for each tie-break, so that all of them decide now and then.
fn any_path() -> impl Strategy<Value = Owned> {
    let before = (any::<bool>(), 0u32..2, 0usize..2, 0u32..3, 0u32..3);
    let source = prop_oneof![Just(Source::External), Just(Source::Internal)];
    let after = (source, 0u32..2, 1u8..4, 0usize..2, 1u8..4);
    (before, after).prop_map(
        |((stale, pref, more, neighbour, med), (source, cost, router_id, clusters, address))| {
            let mut path = vec![64601 + neighbour];
            path.extend(vec![7; more]);
            let mut attributes = attributes(&path);
            attributes.local_pref = Some(pref);
            attributes.med = Some(med);
            attributes.cluster_list = vec![id(1); clusters];
            if stale {
                attributes.communities = vec![community::LLGR_STALE];
            }
            Owned {
                attributes,
                source,
                cost,
                router_id,
                address,
                path_id: 0,
            }
        },
    )
}

/// Paths that no two BGP peers share.
fn any_paths(max: usize) -> impl Strategy<Value = Vec<Owned>> {
    prop::collection::vec(any_path(), 1..max).prop_map(|mut paths| {
        for (at, path) in (0..).zip(&mut paths) {
            path.path_id = at;
        }
        paths
    })
}

/// The elimination as RFC 4271 writes it in section 9.1.2.2.
fn eliminate(paths: &[Owned]) -> usize {
    let mut left: Vec<_> = (0..paths.len()).collect();
    let mut keep_least = |key: &dyn Fn(&Owned) -> u64| {
        let least = left.iter().map(|at| key(&paths[*at])).min();
        left.retain(|at| Some(key(&paths[*at])) == least);
        left.clone()
    };
    keep_least(&|path| path.attributes.communities.len() as u64);
    keep_least(&|path| u64::from(u32::MAX - path.attributes.local_pref.unwrap()));
    let left = keep_least(&|path| path.attributes.path_length() as u64);
    let med = |at: &usize| {
        let attributes = &paths[*at].attributes;
        (attributes.neighbour(), attributes.med.unwrap())
    };
    let beaten = |at: &&usize| {
        let (neighbour, value) = med(at);
        left.iter()
            .map(med)
            .any(|(other, less)| other == neighbour && less < value)
    };
    let left = left.iter().filter(|at| !beaten(at));
    let rest = |at: &&usize| {
        let path = &paths[**at];
        let Owned {
            source,
            cost,
            router_id,
            ..
        } = path;
        let clusters = path.attributes.cluster_list.len();
        (
            *source,
            *cost,
            *router_id,
            clusters,
            path.address,
            path.path_id,
        )
    };
    *left.min_by_key(rest).unwrap()
}

proptest! {
    #[test]
    fn as_the_rfc_eliminates(paths in any_paths(12)) {
        prop_assert_eq!(ranking(&paths).order[0], eliminate(&paths));
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(
        (paths, shuffled) in any_paths(12).prop_flat_map(|paths| (Just(paths.clone()), Just(paths).prop_shuffle())),
    ) {
        let ids = |paths: &[Owned]| {
            let Ranking { order, equal } = ranking(paths);
            let order: Vec<_> = order.into_iter().map(|at| paths[at].path_id).collect();
            (order, equal)
        };
        prop_assert_eq!(ids(&paths), ids(&shuffled));
    }

    #[test]
    fn every_path_has_one_place(paths in any_paths(12)) {
        let Ranking { mut order, equal } = ranking(&paths);
        order.sort_unstable();
        prop_assert_eq!(order, (0..paths.len()).collect::<Vec<_>>());
        prop_assert!((1..=paths.len()).contains(&equal));
    }

    /// A path that loses takes another one with it only by its MED; so none of its neighbour's here is higher.
    #[test]
    fn a_worse_path_changes_nothing(paths in any_paths(12), worse in any_path()) {
        let mut more = paths.clone();
        let highest = paths.iter().filter_map(|path| path.attributes.med).max();
        more.push(Owned { path_id: 99, ..worse });
        more.last_mut().unwrap().attributes.med = highest;
        let (before, after) = (ranking(&paths), ranking(&more));
        let without: Vec<_> = after.order.iter().copied().filter(|at| *at < paths.len()).collect();
        prop_assert_eq!(&without, &before.order);
        if after.order[0] == before.order[0] {
            prop_assert!(after.equal >= before.equal);
        }
    }
}
