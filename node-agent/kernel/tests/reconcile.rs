//! The reconciler on a real kernel: it remembers, and notifications keep it right.
#![allow(clippy::unwrap_used)] // In helpers, as in tests.

mod common;

use common::{DAMAGE, add_peer, apply_all, sample};
use weft_kernel::nft::NftTable;
use weft_kernel::testing::{in_netns, sh};
use weft_kernel::{Kernel, Reconciler, Scope, State, Watcher, observe, plan};

/// Runs a test in a network namespace, within a runtime.
fn with_watcher<F: Future>(test: impl FnOnce(Watcher, Reconciler) -> F + Send) {
    in_netns(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let watcher = Watcher::open().unwrap();
            let reconciler = Reconciler::new(Kernel::open().unwrap());
            test(watcher, reconciler).await;
        });
    });
}

fn desired() -> State {
    let pools = ["10.244.0.0/16", "fd00:10:244::/56"]
        .map(|pool| pool.parse().unwrap())
        .into();
    State {
        nft: Some(NftTable {
            pools,
            ..NftTable::default()
        }),
        ..sample(4)
    }
}

/// One round, in which nothing may fail.
fn round(reconciler: &mut Reconciler, desired: &State) -> (usize, bool) {
    let report = reconciler
        .reconcile(desired, &Scope::of(desired, &[]))
        .unwrap();
    let failures: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    (report.actions.len(), report.resynced)
}

/// What is remembered is what is there.
fn check(reconciler: &Reconciler, desired: &State) {
    let mut kernel = Kernel::open().unwrap();
    let truth = observe(&mut kernel, &Scope::of(desired, &[])).unwrap().ours;
    assert_eq!(reconciler.observed(), Some(&truth));
    assert!(plan(desired, &truth).is_empty());
}

#[test]
fn changes_of_its_own_need_no_second_look() {
    with_watcher(|mut watcher, mut reconciler| async move {
        let mut desired = desired();
        assert!(round(&mut reconciler, &desired).1);
        reconciler.note(&watcher.changed().await.unwrap());
        assert_eq!(round(&mut reconciler, &desired), (0, false));
        // One more peer costs what leads to one peer: an FDB entry, and for each family a
        // neighbour, a nexthop and a route.
        add_peer(&mut desired, 5);
        assert_eq!(round(&mut reconciler, &desired), (9, false));
        reconciler.note(&watcher.changed().await.unwrap());
        assert_eq!(round(&mut reconciler, &desired), (0, false));
        check(&reconciler, &desired);
        // The peer moves to the other underlay, and goes.
        let before = desired.clone();
        for nexthop in desired.nexthops.values_mut() {
            nexthop.device = weft_kernel::DeviceName::VX6;
        }
        round(&mut reconciler, &desired);
        round(&mut reconciler, &before);
        round(&mut reconciler, &sample(4));
        reconciler.note(&watcher.changed().await.unwrap());
        round(&mut reconciler, &sample(4));
        check(&reconciler, &sample(4));
    });
}

#[test]
fn damage_is_learnt_from_notifications() {
    with_watcher(|mut watcher, mut reconciler| async move {
        let desired = desired();
        round(&mut reconciler, &desired);
        reconciler.note(&watcher.changed().await.unwrap());
        let nft = [
            "nft delete table inet weft",
            "nft flush chain inet weft pod-snat",
        ];
        for script in DAMAGE.iter().chain(&nft) {
            sh(script);
            reconciler.note(&watcher.changed().await.unwrap());
            assert_ne!(
                round(&mut reconciler, &desired).0,
                0,
                "{script}: not noticed"
            );
            check(&reconciler, &desired);
            reconciler.note(&watcher.changed().await.unwrap());
            round(&mut reconciler, &desired);
            check(&reconciler, &desired);
        }
    });
}

#[test]
fn a_device_that_goes_takes_its_routes_and_they_return_with_it() {
    with_watcher(|mut watcher, mut reconciler| async move {
        let create = "ip link add weft0123456789a type veth peer name far; \
            ip link set far up; ip link set weft0123456789a up";
        sh(create);
        let mut desired = desired();
        let device = "weft0123456789a".parse().unwrap();
        let key = weft_kernel::RouteKey::send("10.244.0.7/32".parse().unwrap());
        desired
            .routes
            .insert(key, weft_kernel::RouteTarget::device(device).into());
        round(&mut reconciler, &desired);
        for script in ["ip link del weft0123456789a", "ip link set far down"] {
            sh(script);
            reconciler.note(&watcher.changed().await.unwrap());
            let report = reconciler
                .reconcile(&desired, &Scope::of(&desired, &[]))
                .unwrap();
            assert_eq!(
                report.failures.is_empty(),
                script.contains("far"),
                "{script}"
            );
            sh("ip link del weft0123456789a 2>/dev/null || true");
            sh(create);
            reconciler.note(&watcher.changed().await.unwrap());
            round(&mut reconciler, &desired);
            check(&reconciler, &desired);
        }
    });
}

#[test]
fn noise_of_others_changes_nothing() {
    with_watcher(|mut watcher, mut reconciler| async move {
        let desired = desired();
        round(&mut reconciler, &desired);
        reconciler.note(&watcher.changed().await.unwrap());
        sh(
            "ip link add eth0 type veth peer name far; ip link set eth0 up; ip link set far up
            ip addr add 10.244.9.9/24 dev eth0; ip route add 10.244.8.0/24 via 10.244.9.1
            ip neigh add 10.244.9.3 lladdr 02:00:00:00:00:03 dev eth0
            ip rule add priority 100 table 100; ip nexthop add id 7 via 10.244.9.1 dev eth0
            ip route add 10.244.7.0/24 via 10.244.9.1 table 8701
            nft add table inet other; ip link del eth0",
        );
        reconciler.note(&watcher.changed().await.unwrap());
        assert_eq!(round(&mut reconciler, &desired), (0, false));
        check(&reconciler, &desired);
    });
}

#[test]
fn lost_notifications_mean_reading_everything() {
    with_watcher(|mut watcher, mut reconciler| async move {
        let desired = desired();
        round(&mut reconciler, &desired);
        // Another program makes and removes so much that not all of it can be announced.
        let mut kernel = Kernel::open().unwrap();
        let many = sample(3000);
        apply_all(&mut kernel, &plan(&many, &sample(4)));
        apply_all(&mut kernel, &plan(&State::default(), &many));
        let changes = watcher.changed().await.unwrap();
        assert!(changes.lost());
        reconciler.note(&changes);
        assert!(round(&mut reconciler, &desired).1);
        check(&reconciler, &desired);
    });
}
