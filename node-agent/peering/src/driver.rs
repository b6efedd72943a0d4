//! The one task that has the speaker: what happens comes in as [`Input`], one after the other.

mod sockets;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;
use weft_bgp::rib::PeerId;
use weft_bgp::session::Connection;
use weft_bgp::speaker::{Output, Reach, Speaker};
use weft_bgp::wire::Cease;

use crate::answer;
use crate::connection::Event;
use crate::listener::Accepted;
use crate::plan::Plan;
use crate::publish::Publisher;
use crate::query::{Path, Queries, Query, Question};
use crate::view::View;
use sockets::Sockets;

/// How many inputs wait before those who bring them do.
const WAITING: usize = 64;
/// How many inputs are taken in before their consequences are told.
const BATCH: usize = 256;
/// How many bytes of BGP peers they may hold: what they change is to stay in the processor's cache until it is told.
const BATCH_BYTES: usize = 256 << 10;
/// For how long a speaker that takes the place of another waits for what its BGP peers know.
const SUCCESSION: Duration = Duration::from_secs(60);

/// The running driver, as others see it. It ends, without a word to its BGP peers, when nobody sends plans any more.
#[derive(Debug)]
pub struct Handle {
    /// How everything is.
    pub view: watch::Receiver<Arc<View>>,
    /// For questions of people.
    pub queries: Queries,
}

/// Starts a driver on the runtime that this is called on; its sockets are of the network namespace of the threads of
/// that. A speaker that has `restarted` waits for so long at the most for what its BGP peers know.
pub fn start(plans: watch::Receiver<Option<Arc<Plan>>>, restarted: Option<Duration>) -> Handle {
    let (inputs, input) = mpsc::channel(WAITING);
    let (accepted, accept) = mpsc::channel(WAITING);
    let (queries, query) = mpsc::channel(WAITING);
    let (publisher, view) = Publisher::new();
    let driver = Driver {
        plans,
        input,
        accept,
        query,
        seed: RandomState::new().hash_one(()),
        restarted,
        running: None,
        sockets: Sockets::new(inputs, accepted),
        publisher,
    };
    tokio::spawn(driver.run());
    Handle {
        view,
        queries: Queries(queries),
    }
}

/// What happens.
#[derive(Debug)]
enum Input {
    /// There is another plan.
    Plan,
    /// Somebody with the address of a BGP peer has connected.
    Accepted(TcpStream, SocketAddr),
    /// An attempt to connect has ended; the number is that of the attempt.
    Dialled(PeerId, u64, Result<TcpStream, String>),
    /// Something comes of a connection.
    Connection(PeerId, Connection, Event),
    /// Somebody asks something.
    Query(Query),
    /// Time has passed.
    Time,
}

impl Input {
    /// How much a BGP peer has sent with it.
    fn bytes(&self) -> usize {
        match self {
            Self::Connection(_, _, Event::Bytes(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}

struct Driver {
    plans: watch::Receiver<Option<Arc<Plan>>>,
    input: mpsc::Receiver<Input>,
    accept: mpsc::Receiver<Accepted>,
    query: mpsc::Receiver<Query>,
    seed: u64,
    restarted: Option<Duration>,
    running: Option<Running>,
    sockets: Sockets,
    publisher: Publisher,
}

/// A speaker, and what it was told.
struct Running {
    speaker: Speaker,
    plan: Arc<Plan>,
    peers: Peers,
}

/// The numbers of the BGP peers. None is ever given to another.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    next: u32,
    ids: BTreeMap<IpAddr, PeerId>,
    addresses: HashMap<PeerId, IpAddr>,
}

impl Driver {
    async fn run(mut self) {
        self.plans.mark_changed();
        while let Some(first) = self.next().await {
            let mut bytes = first.bytes();
            self.take(first);
            for _ in 1..BATCH {
                if bytes >= BATCH_BYTES {
                    break;
                }
                let Ok(next) = self.input.try_recv() else {
                    break;
                };
                bytes += next.bytes();
                self.take(next);
            }
            self.settle();
        }
    }

    /// What happens next; `None` if nobody sends plans any more.
    async fn next(&mut self) -> Option<Input> {
        let deadlines = [
            self.running
                .as_ref()
                .and_then(|running| running.speaker.deadline())
                .map(Into::into),
            self.sockets.deadline(),
            self.publisher.deadline(),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        tokio::select! {
            changed = self.plans.changed() => changed.ok().map(|()| Input::Plan),
            Some(input) = self.input.recv() => Some(input),
            Some((stream, from)) = self.accept.recv() => Some(Input::Accepted(stream, from)),
            Some(query) = self.query.recv() => Some(Input::Query(query)),
            () = sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)), if deadline.is_some() => Some(Input::Time),
        }
    }

    fn take(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Plan => {
                let plan = self.plans.borrow_and_update().clone();
                self.apply(plan, now);
                self.publisher.changed();
                return;
            }
            Input::Query(Query { question, answer }) => {
                // Who asked may have gone away.
                let _ = answer.send(self.answer(question));
                return;
            }
            Input::Time => return,
            Input::Accepted(..) | Input::Dialled(..) | Input::Connection(..) => {}
        }
        self.publisher.changed();
        let Some(running) = &mut self.running else {
            return;
        };
        let speaker = &mut running.speaker;
        match input {
            Input::Accepted(stream, from) => {
                let peer = running.peers.of(from.ip());
                let known = peer.zip(running.plan.peers.get(&from.ip()));
                if let Some((id, plan)) = known
                    && let Some(connection) = self.sockets.accepted(id, from.ip(), plan, stream)
                {
                    speaker.accepted(id, connection, now);
                }
            }
            Input::Dialled(id, attempt, outcome) => {
                if !self.sockets.is_current(id, attempt) {
                    return;
                }
                let address = running.peers.address(id);
                let plan = address.and_then(|address| running.plan.peers.get(&address));
                match (outcome, plan) {
                    (Ok(stream), Some(plan)) => {
                        let connection = self.sockets.connected(id, plan, stream);
                        speaker.connected(id, connection, now);
                    }
                    (Err(why), _) => speaker.connect_failed(id, &why, now),
                    (Ok(_), None) => {}
                }
            }
            Input::Connection(id, connection, event) => {
                if !self.sockets.has(connection) {
                    return;
                }
                match event {
                    Event::Bytes(bytes) => speaker.bytes(id, connection, &bytes, now),
                    Event::Closed(why) => {
                        self.sockets.forget(connection);
                        speaker.closed(id, connection, &why, now);
                    }
                }
            }
            Input::Plan | Input::Query(_) | Input::Time => {}
        }
        self.obey();
    }

    /// Decides on what came, does what is due, and tells what has changed.
    fn settle(&mut self) {
        let now = Instant::now();
        if let Some(running) = &mut self.running {
            running.speaker.settle(now);
            let due = |deadline: Instant| deadline <= now;
            if running.speaker.deadline().is_some_and(due) {
                running.speaker.advance(now);
                running.speaker.settle(now);
                self.publisher.changed();
            }
        }
        self.obey();
        if self.sockets.retry() {
            self.publisher.changed();
        }
        let problems = self.sockets.problems();
        let more = !self.input.is_empty() || !self.query.is_empty();
        match &self.running {
            Some(running) => {
                let Running {
                    speaker,
                    plan,
                    peers,
                } = running;
                self.publisher
                    .publish(Some((speaker, plan, peers)), problems, more);
            }
            None => self.publisher.publish(None, problems, more),
        }
    }

    /// Makes what runs as the plan says.
    fn apply(&mut self, plan: Option<Arc<Plan>>, now: Instant) {
        let same_speaker = |running: &Running| {
            plan.as_ref().is_some_and(|plan| {
                let is = |plan: &Plan| {
                    let settings = &plan.settings;
                    (settings.asn, settings.router_id, settings.cluster_id)
                };
                is(plan) == is(&running.plan)
            })
        };
        if let Some(running) = self
            .running
            .as_mut()
            .filter(|running| !same_speaker(running))
        {
            let cease = match plan {
                Some(_) => Cease::ConfigurationChanged,
                None => Cease::Deconfigured,
            };
            running.speaker.stop(cease, now);
            self.obey();
            self.running = None;
            self.sockets.forget_all();
            self.publisher.forget();
            self.restarted = Some(SUCCESSION);
        }
        self.sockets.listen(plan.as_deref());
        let Some(plan) = plan else {
            return;
        };
        let running = match &mut self.running {
            Some(running) => running,
            None => {
                let settings = plan.settings.speaker(self.seed);
                self.running.insert(Running {
                    speaker: Speaker::new(settings, self.restarted, now),
                    plan: Arc::new(Plan {
                        listen: Vec::new(),
                        peers: BTreeMap::new(),
                        originate: BTreeMap::new(),
                        links: Vec::new(),
                        costs: HashMap::new(),
                        ..Plan::clone(&plan)
                    }),
                    peers: Peers::default(),
                })
            }
        };
        let old = std::mem::replace(&mut running.plan, plan.clone());
        let speaker = &mut running.speaker;
        if old.settings != plan.settings {
            speaker.reconfigure(&plan.settings.speaker(self.seed));
        }
        if (&old.costs, &old.links) != (&plan.costs, &plan.links) {
            speaker.set_reach(Reach {
                links: plan.links.clone(),
                costs: plan.costs.clone(),
            });
        }
        if old.originate != plan.originate {
            speaker.originate(plan.originate.clone());
        }
        for address in old.peers.keys() {
            if !plan.peers.contains_key(address)
                && let Some(id) = running.peers.remove(*address)
            {
                speaker.remove_peer(id, now);
                self.sockets.abandon(id);
            }
        }
        for (address, peer) in &plan.peers {
            let id = running.peers.add(*address);
            match old.peers.get(address) {
                Some(old) if old == peer => continue,
                Some(old) if self.sockets.adjust(id, *address, old, peer) => {
                    speaker.connect_failed(id, "the configuration has changed", now);
                }
                Some(_) | None => {}
            }
            speaker.set_peer(id, peer.config.clone(), now);
        }
        self.obey();
    }

    /// Does what the speaker asks for.
    fn obey(&mut self) {
        while let Some(running) = &mut self.running
            && let Some(output) = running.speaker.poll()
        {
            match output {
                Output::Connect(id) => {
                    let address = running.peers.address(id);
                    let plan = &running.plan;
                    if let Some(address) = address
                        && let Some(peer) = plan.peers.get(&address)
                    {
                        self.sockets.dial(id, address, peer, &plan.settings);
                    }
                }
                Output::Write(id, connection, bytes) => {
                    if let Err(why) = self.sockets.write(connection, bytes) {
                        running.speaker.closed(id, connection, &why, Instant::now());
                    }
                }
                Output::Close(_, connection) => self.sockets.forget(connection),
                Output::Selected(prefixes) => self.publisher.selected(prefixes),
                Output::Note(id, text) => {
                    let (name, address) = running.called(id);
                    tracing::info!(peer = name, ?address, "{text}");
                }
            }
        }
    }

    fn answer(&self, question: Question) -> Option<Vec<Path>> {
        let running = self.running.as_ref()?;
        let speaker = &running.speaker;
        let named = |address| {
            let id = running.peers.of(address)?;
            Some((id, running.called(id).0))
        };
        Some(match question {
            Question::Routes(prefix) => answer::routes(speaker, prefix, |id| {
                (id != PeerId::LOCAL).then(|| running.called(id).0.to_owned())
            }),
            Question::Received(peer) => {
                let (id, name) = named(peer)?;
                answer::received(speaker, id, name)
            }
            Question::Advertised(peer) => {
                let (id, name) = named(peer)?;
                answer::advertised(speaker, id, name)
            }
        })
    }
}

impl Running {
    /// The name and the address of a BGP peer.
    fn called(&self, id: PeerId) -> (&str, Option<IpAddr>) {
        let address = self.peers.address(id);
        let plan = address.and_then(|address| self.plan.peers.get(&address));
        (plan.map_or("", |plan| &plan.name), address)
    }
}

impl Peers {
    pub(crate) fn of(&self, address: IpAddr) -> Option<PeerId> {
        self.ids.get(&address).copied()
    }

    pub(crate) fn address(&self, id: PeerId) -> Option<IpAddr> {
        self.addresses.get(&id).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (IpAddr, PeerId)> {
        self.ids.iter().map(|(address, id)| (*address, *id))
    }

    /// The number of a BGP peer, new or not.
    fn add(&mut self, address: IpAddr) -> PeerId {
        *self.ids.entry(address).or_insert_with(|| {
            let id = PeerId(self.next);
            // Never that of the speaker itself, and in practice never the first one again.
            self.next = (self.next + 1) % PeerId::LOCAL.0;
            self.addresses.insert(id, address);
            id
        })
    }

    fn remove(&mut self, address: IpAddr) -> Option<PeerId> {
        let id = self.ids.remove(&address)?;
        self.addresses.remove(&id);
        Some(id)
    }
}
