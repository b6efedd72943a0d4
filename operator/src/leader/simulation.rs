//! The election in a simulated world: clocks that run at different rates and start anywhere, calls that
//! take long, get lost before or after they take effect, and processes that end and start again.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::machine::{Input, Machine, Record, Request, Seen, Timing};

/// A step of the world, in true time.
const STEP: Duration = Duration::from_millis(100);

/// Random numbers that a seed decides (xorshift64*, Vigna 2016).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The API server: compare and swap on one record.
#[derive(Default)]
struct Server {
    record: Option<Record>,
    version: u64,
}

impl Server {
    fn answer(&mut self, request: &Request) -> Input {
        match request {
            Request::Read => Input::Read(self.seen()),
            Request::Write { record, replaces } => {
                if *replaces != self.seen().map(|seen| seen.version) {
                    return Input::Refused;
                }
                self.version += 1;
                self.record = Some(record.clone());
                self.seen().map_or(Input::Failed, Input::Wrote)
            }
        }
    }

    fn seen(&self) -> Option<Seen> {
        Some(Seen {
            record: self.record.clone()?,
            version: self.version.to_string(),
        })
    }
}

/// A call under way.
struct Call {
    request: Request,
    /// When it takes effect at the server. None: it has, or never does.
    effect_at: Option<Duration>,
    answer_at: Duration,
    answer: Input,
}

struct Candidate {
    machine: Machine,
    call: Option<Call>,
    /// Where its clock started.
    offset: Duration,
    /// How fast its clock runs, in thousandths of true time.
    rate: u32,
    pauses_until: Duration,
}

impl Candidate {
    fn clock(&self, truth: Duration) -> Duration {
        self.offset + truth * self.rate / 1000
    }

    fn leads(&self, truth: Duration) -> bool {
        let now = self.clock(truth);
        self.machine.held_until().is_some_and(|until| now < until)
    }
}

struct World {
    dice: Dice,
    timing: Timing,
    server: Server,
    candidates: Vec<Candidate>,
    /// Late effects of calls whose senders no longer wait for them.
    late: VecDeque<(Duration, Request)>,
    born: u32,
    truth: Duration,
    /// One in so many steps something bad happens to a candidate.
    trouble: u64,
}

impl World {
    fn new(seed: u64, candidates: usize, trouble: u64) -> Self {
        let mut world = World {
            dice: Dice(seed | 1),
            timing: Timing::default(),
            server: Server::default(),
            candidates: Vec::new(),
            late: VecDeque::new(),
            born: 0,
            truth: Duration::ZERO,
            trouble,
        };
        for _ in 0..candidates {
            let candidate = world.candidate();
            world.candidates.push(candidate);
        }
        world
    }

    fn candidate(&mut self) -> Candidate {
        self.born += 1;
        Candidate {
            machine: Machine::new(format!("candidate-{}", self.born), self.timing),
            call: None,
            offset: Duration::from_secs(self.dice.below(1_000_000)),
            // Ten times what a clock without any discipline does.
            rate: 995 + u32::try_from(self.dice.below(11)).unwrap(),
            pauses_until: Duration::ZERO,
        }
    }

    fn step(&mut self) {
        self.truth += STEP;
        while let Some((at, _)) = self.late.front() {
            if *at > self.truth {
                break;
            }
            if let Some((_, request)) = self.late.pop_front() {
                self.server.answer(&request);
            }
        }
        for i in 0..self.candidates.len() {
            self.step_candidate(i);
        }
    }

    fn step_candidate(&mut self, i: usize) {
        let truth = self.truth;
        if self.dice.one_in(self.trouble) {
            match self.dice.below(3) {
                0 => {
                    let long = Duration::from_secs(self.dice.below(40));
                    self.candidates[i].pauses_until = truth + long;
                }
                1 => self.candidates[i] = self.candidate(),
                _ => {
                    if let Some(request) = {
                        let candidate = &mut self.candidates[i];
                        candidate.call = None;
                        let now = candidate.clock(truth);
                        candidate.machine.handle(Input::Stop, now)
                    } {
                        self.server.answer(&request);
                    }
                    self.candidates[i] = self.candidate();
                }
            }
        }
        let server = &mut self.server;
        let candidate = &mut self.candidates[i];
        if let Some(call) = &mut candidate.call
            && call.effect_at.is_some_and(|at| at <= truth)
        {
            call.effect_at = None;
            let answer = server.answer(&call.request);
            if call.answer != Input::Failed {
                call.answer = answer;
            }
        }
        if candidate.pauses_until > truth {
            return;
        }
        let now = candidate.clock(truth);
        let input = match candidate.call.take_if(|call| call.answer_at <= truth) {
            Some(call) => {
                // The sender has given up; the call may still take effect.
                if let Some(at) = call.effect_at {
                    self.late.push_back((at, call.request));
                }
                call.answer
            }
            None => Input::Tick,
        };
        if let Some(request) = self.candidates[i].machine.handle(input, now) {
            let call = self.call(request);
            self.candidates[i].call = Some(call);
        }
    }

    fn call(&mut self, request: Request) -> Call {
        let limit = self.timing.margin.mul_f32(0.8);
        let (delay, lost) = match self.dice.below(10) {
            0 => (Duration::from_millis(self.dice.below(8_000)), false),
            1 => (Duration::from_millis(self.dice.below(500)), true),
            _ => (Duration::from_millis(self.dice.below(200)), false),
        };
        let back = Duration::from_millis(self.dice.below(200));
        let in_time = delay + back < limit && !lost;
        let never = lost && self.dice.one_in(2);
        Call {
            request,
            effect_at: (!never).then_some(self.truth + delay),
            answer_at: self.truth + if in_time { delay + back } else { limit },
            answer: if in_time { Input::Tick } else { Input::Failed },
        }
    }

    fn leaders(&self) -> usize {
        let truth = self.truth;
        self.candidates.iter().filter(|c| c.leads(truth)).count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Never two leaders, whatever happens; and there is mostly one.
    #[test]
    fn never_two_leaders(seed: u64, candidates in 2usize..=4, trouble in 100u64..2_000) {
        let mut world = World::new(seed, candidates, trouble);
        let mut led = 0u32;
        let steps = 10_000u32;
        for _ in 0..steps {
            world.step();
            let leaders = world.leaders();
            prop_assert!(leaders <= 1, "{leaders} leaders at {:?}", world.truth);
            led += u32::from(leaders == 1);
        }
        prop_assert!(led > 0, "nobody ever led");
    }

    /// A leader that vanishes leaves the margin and more before the next acts: what it sent last has ended.
    #[test]
    fn a_new_leader_starts_only_when_the_last_call_of_the_old_one_has_ended(seed: u64) {
        let mut world = World::new(seed, 2, u64::MAX);
        let mut last_led = [Duration::ZERO; 2];
        for _ in 0..3_000 {
            world.step();
            for i in 0..2 {
                if !world.candidates[i].leads(world.truth) {
                    continue;
                }
                let other = last_led[1 - i];
                let call = world.timing.margin.mul_f32(0.8);
                prop_assert!(other == Duration::ZERO || world.truth >= other + call);
                last_led[i] = world.truth;
            }
            // The leader freezes now and then; nothing is released.
            if world.dice.one_in(500) {
                let truth = world.truth;
                if let Some(leader) = world.candidates.iter_mut().find(|c| c.leads(truth)) {
                    leader.pauses_until = truth + Duration::from_secs(30);
                }
            }
        }
    }
}

#[test]
fn without_trouble_one_leads_at_once_and_stays() {
    let mut world = World::new(7, 3, u64::MAX);
    for _ in 0..100 {
        world.step();
    }
    assert_eq!(world.leaders(), 1);
    let leader = world.candidates.iter().position(|c| c.leads(world.truth));
    for _ in 0..5_000 {
        world.step();
    }
    let now = world.candidates.iter().position(|c| c.leads(world.truth));
    assert_eq!(now, leader);
    assert_eq!(world.server.record.unwrap().transitions, 0);
}

#[test]
fn a_released_lease_is_taken_without_waiting() {
    let timing = Timing::default();
    let mut server = Server::default();
    let mut turn = |machine: &mut Machine, input, now: u64| {
        let now = Duration::from_secs(now);
        let mut request = machine.handle(input, now);
        while let Some(sent) = request {
            request = machine.handle(server.answer(&sent), now);
        }
    };
    let mut a = Machine::new("a".into(), timing);
    let mut b = Machine::new("b".into(), timing);
    turn(&mut a, Input::Tick, 0);
    turn(&mut b, Input::Tick, 0);
    assert!(a.held_until().is_some() && b.held_until().is_none());
    assert_eq!(b.holder(), Some("a"));
    turn(&mut a, Input::Stop, 1);
    turn(&mut b, Input::Tick, 2);
    assert!(a.held_until().is_none() && b.held_until().is_some());
}

#[test]
fn a_record_that_was_deleted_is_waited_for() {
    let timing = Timing::default();
    let mut machine = Machine::new("b".into(), timing);
    let other = Seen {
        record: Record {
            holder: "a".into(),
            lease: timing.lease,
            transitions: 0,
        },
        version: "1".into(),
    };
    let at = Duration::from_secs;
    assert_eq!(machine.handle(Input::Tick, at(0)), Some(Request::Read));
    assert_eq!(machine.handle(Input::Read(Some(other)), at(0)), None);
    assert_eq!(machine.handle(Input::Tick, at(1)), Some(Request::Read));
    assert_eq!(machine.handle(Input::Read(None), at(1)), None);
    assert_eq!(machine.handle(Input::Tick, at(15)), Some(Request::Read));
    assert_eq!(machine.handle(Input::Read(None), at(15)), None);
    assert_eq!(machine.handle(Input::Tick, at(16)), Some(Request::Read));
    assert!(matches!(
        machine.handle(Input::Read(None), at(16)),
        Some(Request::Write { replaces: None, .. })
    ));
}

#[test]
fn the_clock_of_the_lease_starts_before_the_write() {
    let timing = Timing::default();
    let mut machine = Machine::new("a".into(), timing);
    let at = Duration::from_secs;
    machine.handle(Input::Tick, at(100));
    let Some(Request::Write { record, .. }) = machine.handle(Input::Read(None), at(102)) else {
        panic!("the lease is free");
    };
    let seen = Seen {
        record,
        version: "1".into(),
    };
    machine.handle(Input::Wrote(seen), at(104));
    assert_eq!(
        machine.held_until(),
        Some(at(102) + timing.lease - timing.margin)
    );
}
