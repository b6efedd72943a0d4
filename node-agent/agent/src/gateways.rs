//! Whether the routers that packets go by are there: asked each second, as BGP by itself takes as long as its hold
//! time, and with graceful restart longer, to notice that one isn't.
//!
//! A router that is silent is only the last choice; if all are silent, packets go by them as before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::watch;
use weft_kernel::DeviceName;
use weft_kernel::underlay::{Gateways, Presence};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// A neighbour that the kernel still asks for after so many looks is silent: it gives up by itself only where it
/// never had an answer.
const ASKED: u32 = 4;

/// Whom to watch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// The device that they are on; none: nobody.
    pub device: Option<DeviceName>,
    /// Their addresses.
    pub addresses: BTreeSet<IpAddr>,
}

/// Starts watching; gives those that are silent.
pub fn start(watched: watch::Receiver<Watched>) -> watch::Receiver<BTreeSet<IpAddr>> {
    let (silent, told) = watch::channel(BTreeSet::new());
    tokio::spawn(run(watched, silent));
    told
}

async fn run(watched: watch::Receiver<Watched>, silent: watch::Sender<BTreeSet<IpAddr>>) {
    let gateways = match Gateways::open() {
        Ok(gateways) => gateways,
        Err(error) => {
            tracing::warn!(%error, "cannot look whether routers are there; they are taken to be");
            return;
        }
    };
    let mut vigil = Vigil::default();
    while !silent.is_closed() {
        let now = watched.borrow().clone();
        if let Some(device) = now.device {
            match gateways.look(device).await {
                Ok(known) => {
                    for address in vigil.observe(&now.addresses, &known) {
                        let asked = gateways.ask(device, address, known.get(&address).copied());
                        if let Err(error) = asked.await {
                            tracing::debug!(%address, %error, "cannot ask for a router");
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot look whether routers are there"),
            }
        }
        silent.send_if_modified(|told| {
            let new = *told != vigil.silent;
            if new {
                tracing::info!(silent = ?vigil.silent, "routers that do not answer");
                told.clone_from(&vigil.silent);
            }
            new
        });
        tokio::time::sleep(PERIOD).await;
    }
}

/// What is known of whom.
#[derive(Debug, Default)]
struct Vigil {
    silent: BTreeSet<IpAddr>,
    /// How often one was found being asked for in turn.
    asked: BTreeMap<IpAddr, u32>,
}

impl Vigil {
    /// Takes a look at the kernel; gives those that it is to ask for now.
    fn observe(
        &mut self,
        watched: &BTreeSet<IpAddr>,
        known: &BTreeMap<IpAddr, Presence>,
    ) -> Vec<IpAddr> {
        self.asked.retain(|address, _| watched.contains(address));
        self.silent.retain(|address| watched.contains(address));
        let mut ask = Vec::new();
        for address in watched {
            match known.get(address) {
                Some(Presence::Known) => {
                    self.asked.remove(address);
                    self.silent.remove(address);
                    ask.push(*address);
                }
                Some(Presence::Fixed) => {
                    self.silent.remove(address);
                }
                Some(Presence::Asked) => {
                    let times = self.asked.entry(*address).or_default();
                    *times += 1;
                    if *times >= ASKED {
                        self.silent.insert(*address);
                    }
                }
                Some(Presence::Silent) => {
                    self.silent.insert(*address);
                    ask.push(*address);
                }
                // Nobody has sent anything to it yet.
                None => ask.push(*address),
            }
        }
        ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 254));

    fn look(vigil: &mut Vigil, presence: Option<Presence>) -> (usize, bool) {
        let known = presence.map(|presence| (ROUTER, presence));
        let ask = vigil.observe(&[ROUTER].into(), &known.into_iter().collect());
        (ask.len(), !vigil.silent.is_empty())
    }

    #[test]
    fn one_that_does_not_answer_is_silent_until_it_does() {
        let mut vigil = Vigil::default();
        assert_eq!(look(&mut vigil, None), (1, false));
        assert_eq!(look(&mut vigil, Some(Presence::Known)), (1, false));
        assert_eq!(look(&mut vigil, Some(Presence::Asked)), (0, false));
        assert_eq!(look(&mut vigil, Some(Presence::Silent)), (1, true));
        assert_eq!(look(&mut vigil, Some(Presence::Asked)), (0, true));
        assert_eq!(look(&mut vigil, Some(Presence::Known)), (1, false));
    }

    #[test]
    fn one_that_is_asked_for_in_vain_is_silent() {
        let mut vigil = Vigil::default();
        for look_number in 1..=ASKED {
            let silent = look(&mut vigil, Some(Presence::Asked)).1;
            assert_eq!(silent, look_number == ASKED);
        }
    }

    #[test]
    fn one_that_was_set_by_hand_is_there_and_one_that_is_watched_no_more_is_forgotten() {
        let mut vigil = Vigil::default();
        assert_eq!(look(&mut vigil, Some(Presence::Fixed)), (0, false));
        look(&mut vigil, Some(Presence::Silent));
        vigil.observe(&BTreeSet::new(), &BTreeMap::new());
        assert!(vigil.silent.is_empty() && vigil.asked.is_empty());
    }
}
