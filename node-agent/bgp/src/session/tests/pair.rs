//! Two sessions and the network between them: whatever happens for a while, in the end they are established.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// What a speaker is told about a connection, in this order.
enum Item {
    Connected,
    Accepted,
    Bytes(Vec<u8>),
    Closed,
}

struct Speaker {
    session: Session,
    /// An attempt to connect that is under way.
    dialling: bool,
    /// By connection.
    inbox: BTreeMap<u64, VecDeque<Item>>,
    established: usize,
}

/// The two speakers, their network, and what chance brings.
struct World {
    speakers: [Speaker; 2],
    now: Instant,
    next: u64,
    chance: u64,
}

impl World {
    fn new(configs: [Config; 2], seed: u64) -> Self {
        let speakers = configs.map(|config| Speaker {
            session: Session::new(config),
            dialling: false,
            inbox: BTreeMap::new(),
            established: 0,
        });
        Self {
            speakers,
            now: Instant::now(),
            next: 0,
            chance: seed,
        }
    }

    /// Less than `end`.
    fn random(&mut self, end: usize) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) as usize % end
    }

    fn tell(&mut self, to: usize, connection: u64, item: Item) {
        self.speakers[to]
            .inbox
            .entry(connection)
            .or_default()
            .push_back(item);
    }

    /// Does what the sessions want, and checks what must always hold.
    fn settle(&mut self) {
        for at in 0..2 {
            while let Some(output) = self.speakers[at].session.poll() {
                match output {
                    Output::Connect => self.speakers[at].dialling = true,
                    Output::Write(connection, bytes) => {
                        self.tell(1 - at, connection.0, Item::Bytes(bytes.to_vec()))
                    }
                    Output::Close(connection) => {
                        self.speakers[at].inbox.remove(&connection.0);
                        self.tell(1 - at, connection.0, Item::Closed);
                    }
                    Output::Event(Event::Established(_)) => self.speakers[at].established += 1,
                    Output::Event(Event::Down { .. }) => self.speakers[at].established -= 1,
                    Output::Event(_) => {}
                }
            }
            let session = &self.speakers[at].session;
            assert!(session.links.len() <= 2);
            assert!(
                session
                    .links
                    .iter()
                    .filter(|link| link.established().is_some())
                    .count()
                    <= 1
            );
            assert_eq!(
                self.speakers[at].established,
                usize::from(session.state() == State::Established)
            );
            let waits = !session.links.is_empty() || session.config.passive;
            assert!(
                session.deadline().is_some() || waits,
                "nothing would ever happen"
            );
        }
    }

    /// One attempt to connect comes to its end.
    fn finish_dial(&mut self, at: usize, works: bool) {
        self.speakers[at].dialling = false;
        if works {
            self.next += 1;
            self.tell(at, self.next, Item::Connected);
            self.tell(1 - at, self.next, Item::Accepted);
        } else {
            self.speakers[at].session.connect_failed("refused");
        }
    }

    /// One speaker hears the next thing of one of its connections; bytes in any portions.
    fn deliver(&mut self, at: usize, connection: u64) {
        let Some(queue) = self.speakers[at].inbox.get_mut(&connection) else {
            return;
        };
        let Some(mut item) = queue.pop_front() else {
            return;
        };
        if let Item::Bytes(bytes) = &mut item {
            let length = bytes.len();
            let whole = self.random(2) == 0;
            let first = if whole {
                length
            } else {
                self.random(length) + 1
            };
            if let (Item::Bytes(bytes), Some(queue)) =
                (&mut item, self.speakers[at].inbox.get_mut(&connection))
            {
                let rest = bytes.split_off(first);
                if !rest.is_empty() {
                    queue.push_front(Item::Bytes(rest));
                }
            }
        }
        let session = &mut self.speakers[at].session;
        let id = Connection(connection);
        match item {
            Item::Connected => session.connected(id, self.now),
            Item::Accepted => session.accepted(id, self.now),
            Item::Bytes(bytes) => session.bytes(id, &bytes, self.now),
            Item::Closed => session.closed(id, "end of stream", self.now),
        }
    }

    /// A connection is cut: both hear of it, at once or after what is under way.
    fn cut(&mut self) {
        let connection = self.random(self.next as usize + 1) as u64;
        for at in 0..2 {
            if self.random(2) == 0 {
                self.speakers[at].inbox.remove(&connection);
            }
            self.tell(at, connection, Item::Closed);
        }
    }

    /// Time passes until the next deadline of either.
    fn wait(&mut self) {
        let deadlines = self
            .speakers
            .iter()
            .filter_map(|speaker| speaker.session.deadline());
        if let Some(deadline) = deadlines.min() {
            self.now = self.now.max(deadline);
        }
        let first = self.random(2);
        for at in [first, 1 - first] {
            self.speakers[at].session.advance(self.now);
        }
    }

    /// One thing happens. With trouble, it can be anything; without, the network is good and fast.
    fn step(&mut self, trouble: bool) {
        let dialling: Vec<usize> = (0..2).filter(|at| self.speakers[*at].dialling).collect();
        let pending: Vec<(usize, u64)> = (0..2)
            .flat_map(|at| {
                let inbox = &self.speakers[at].inbox;
                inbox
                    .iter()
                    .filter(|(_, queue)| !queue.is_empty())
                    .map(move |(connection, _)| (at, *connection))
            })
            .collect();
        match self.random(20) {
            0 | 1 if trouble => self.cut(),
            2 if trouble => self.wait(),
            3 if trouble && !dialling.is_empty() => self.finish_dial(dialling[0], false),
            choice => {
                let all = dialling.len() + pending.len();
                if all == 0 {
                    self.wait();
                } else {
                    match self.random(all) {
                        dial if dial < dialling.len() => {
                            let works = !trouble || choice > 6;
                            self.finish_dial(dialling[dial], works);
                        }
                        other => {
                            let (at, connection) = pending[other - dialling.len()];
                            self.deliver(at, connection);
                        }
                    }
                }
            }
        }
        self.settle();
    }

    fn both_established(&self) -> bool {
        self.speakers
            .iter()
            .all(|speaker| speaker.session.state() == State::Established)
    }

    fn is_quiet(&self) -> bool {
        self.speakers
            .iter()
            .all(|speaker| !speaker.dialling && speaker.inbox.values().all(VecDeque::is_empty))
    }
}

fn pair_of_configs() -> impl Strategy<Value = [Config; 2]> {
    let hold_times = (
        prop::sample::select(vec![0, 3, 9, 90]),
        prop::sample::select(vec![0, 3, 30]),
    );
    let passive = prop::sample::select(vec![[false, false], [true, false], [false, true]]);
    (hold_times, passive, any::<[bool; 3]>(), any::<[u64; 2]>()).prop_map(
        |(hold_times, passive, flags, seeds)| {
            let [internal, restart, swap] = flags;
            let ids = if swap { [1, 2] } else { [2, 1] };
            let ases = if internal {
                [64512, 64512]
            } else {
                [64512, 64513]
            };
            [0, 1].map(|at| {
                let own = capabilities(ases[at]);
                Config {
                    local_as: ases[at],
                    peer_as: ases[1 - at],
                    id: Ipv4Addr::new(10, 0, 0, ids[at]),
                    hold_time: [hold_times.0, hold_times.1][at],
                    passive: passive[at],
                    capabilities: if restart { graceful(own, true) } else { own },
                    seed: seeds[at],
                    ..config()
                }
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn always_established_in_the_end(
        configs in pair_of_configs(),
        seed in 1..u64::MAX,
        trouble in 0..400_usize,
    ) {
        let mut world = World::new(configs, seed);
        for at in 0..2 {
            world.speakers[at].session.start(world.now);
        }
        world.settle();
        for _ in 0..trouble {
            world.step(true);
        }
        let mut steps = 0;
        while !(world.both_established() && world.is_quiet()) {
            world.step(false);
            steps += 1;
            prop_assert!(steps < 5000, "not established: {:?} {:?}",
                world.speakers[0].session.state(), world.speakers[1].session.state());
        }
    }

    /// Both connect at the same moment, with good luck: there must be no rest and no second try.
    #[test]
    fn simultaneous_opens_need_no_second_try(configs in pair_of_configs(), seed in 1..u64::MAX) {
        let mut world = World::new(configs.map(|config| Config { passive: false, ..config }), seed);
        let start = world.now;
        for at in 0..2 {
            world.speakers[at].session.start(world.now);
        }
        world.settle();
        for at in 0..2 {
            world.finish_dial(at, true);
        }
        while !(world.both_established() && world.is_quiet()) {
            world.step(false);
            prop_assert_eq!(world.now, start);
        }
    }
}
