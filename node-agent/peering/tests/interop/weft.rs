//! A speaker of our own, in a thread of its own in a network namespace.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;
use nix::sched::{CloneFlags, setns};
use tokio::sync::{oneshot, watch};
use weft_bgp::policy::Policy;
use weft_bgp::rib::NextHop;
use weft_bgp::route::Attributes;
use weft_bgp::session::{Backoff, State};
use weft_bgp::speaker::{Keep, PeerConfig};
use weft_bgp::wire::PerFamily;
use weft_kernel::tcp::Hops;
use weft_kernel::testing::Netns;
use weft_peering::{Handle, PORT, Path, PeerPlan, Plan, Route, Settings, Status, View, start};

use crate::lab::{A, B, DAEMON, Ends};

/// How often what waits tries again.
const PACE: Backoff = Backoff {
    first: Duration::from_secs(2),
    max: Duration::from_secs(2),
};

/// A plan of a speaker that originates two prefixes, with all attributes that can be set, and has no BGP peers yet.
pub fn plan(at: Ends, asn: u32, prefixes: [&str; 2]) -> Plan {
    let attributes = Attributes {
        communities: vec![(64999 << 16) + 7],
        large_communities: vec![(64999, 7, 8)],
        med: Some(30),
        local_pref: Some(150),
        ..Attributes::plain(std::net::Ipv4Addr::UNSPECIFIED.into(), &[])
    };
    let ends = [A, DAEMON, B].into_iter();
    let next_hops = ends.flat_map(|ends| [ends.address(false), ends.address(true)]);
    Plan {
        settings: Settings {
            connect_retry: PACE,
            idle_hold: PACE,
            restart_time: 20,
            ..Settings::new(asn, at.v4())
        },
        listen: [at.address(false), at.address(true)]
            .map(|address| SocketAddr::new(address, PORT))
            .into(),
        peers: BTreeMap::new(),
        originate: prefixes
            .map(|prefix| (prefix.parse().unwrap(), attributes.clone()))
            .into(),
        costs: next_hops.map(|next_hop| (next_hop, 1)).collect(),
    }
}

/// A BGP peer of the speaker `here`.
pub fn peer(here: Ends, there: Ends, asn: u32, ipv6: bool) -> PeerPlan {
    PeerPlan {
        name: "them".to_owned(),
        config: PeerConfig {
            address: there.address(ipv6),
            asn,
            client: false,
            passive: false,
            hold_time: 9,
            own_address: PerFamily {
                ipv4: (!ipv6).then(|| here.v4().into()),
                ipv6: ipv6.then(|| here.v6().into()),
            },
            own_link_local: None,
            next_hop: NextHop::OwnUnlessReflected,
            import: Some(Arc::new(Policy::accept_all())),
            export: Some(Arc::new(Policy::accept_all())),
            limit: PerFamily::default(),
            add_path: None,
            keep: Keep::AsAgreed,
        },
        port: PORT,
        source: here.address(ipv6),
        hops: Hops::One,
        password: None,
    }
}

pub struct Weft {
    plans: watch::Sender<Option<Arc<Plan>>>,
    handle: Handle,
    runtime: tokio::runtime::Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Weft {
    pub fn start(netns: &Netns, plan: Plan, restarted: bool) -> Self {
        let netns = netns.as_fd().try_clone_to_owned().unwrap();
        let (plans, receiver) = watch::channel(Some(Arc::new(plan)));
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            setns(&netns, CloneFlags::CLONE_NEWNET).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let wait = restarted.then_some(Duration::from_secs(10));
            let handle = runtime.block_on(async { start(receiver, wait) });
            tell.send((handle, runtime.handle().clone())).unwrap();
            let _ = runtime.block_on(stopped);
        });
        let (handle, runtime) = told.recv().unwrap();
        Self {
            plans,
            handle,
            runtime,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Ends it as a kill would: no word to anybody, all sockets closed.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// Changes the plan.
    pub fn edit(&self, edit: impl FnOnce(&mut Plan)) {
        self.plans.send_modify(|plan| {
            let plan = plan.as_mut().unwrap();
            edit(Arc::make_mut(plan));
        });
    }

    pub fn view(&self) -> Arc<View> {
        self.handle.view.borrow().clone()
    }

    pub fn status(&self, peer: IpAddr) -> Option<Status> {
        self.view().peers.get(&peer).cloned()
    }

    pub fn is_up(&self, peer: IpAddr) -> bool {
        self.status(peer)
            .is_some_and(|status| status.state == State::Established)
    }

    pub fn last_error(&self, peer: IpAddr) -> String {
        let status = self.status(peer);
        status
            .and_then(|status| status.last_error)
            .unwrap_or_default()
    }

    pub fn route(&self, prefix: &str) -> Option<Route> {
        let prefix: IpNet = prefix.parse().unwrap();
        self.view().routes.get(&prefix).cloned()
    }

    /// The first next hop to a prefix.
    pub fn next_hop(&self, prefix: &str) -> Option<IpAddr> {
        Some(self.route(prefix)?.next_hops.first()?.address)
    }

    /// What a BGP peer has announced for a prefix.
    pub fn received(&self, peer: IpAddr, prefix: &str) -> Vec<Path> {
        let prefix: IpNet = prefix.parse().unwrap();
        let queries = self.handle.queries.clone();
        let answered = self
            .runtime
            .spawn(async move { queries.received(peer).await });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let paths = runtime.block_on(answered).unwrap().unwrap_or_default();
        paths
            .into_iter()
            .filter(|path| path.prefix == prefix)
            .collect()
    }

    pub fn describe(&self) -> String {
        format!("{:#?}", self.view())
    }

    /// From now on until `do_it` is done, there is always a way to the prefix.
    pub fn never_without<T>(&self, prefix: &str, do_it: impl FnOnce() -> T) -> T {
        let mut view = self.handle.view.clone();
        let prefix: IpNet = prefix.parse().unwrap();
        let watching = self.runtime.spawn(async move {
            loop {
                if !view.borrow_and_update().routes.contains_key(&prefix) {
                    return;
                }
                if view.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        });
        let result = do_it();
        assert!(!watching.is_finished(), "there was no way to {prefix}");
        watching.abort();
        result
    }
}

impl Drop for Weft {
    fn drop(&mut self) {
        self.end();
    }
}
