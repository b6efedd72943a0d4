//! Carrying out a plan.

use nix::errno::Errno;

use crate::action::Action;
use crate::ethtool;
use crate::kernel::{Indexes, Kernel};
use crate::names::DeviceName;
use crate::netlink::{Error, Request};
use crate::nft;
use crate::object::uapi::{CREATE, EXCL, REPLACE};
use crate::object::{address, link, neighbour, nexthop, route};
use crate::state::{RouteTarget, Vxlan};

/// Nexthop ids which belong to Weft, whoever made the object. Outside of them an
/// existing object is never overwritten.
pub const NEXTHOP_IDS: std::ops::RangeInclusive<u32> = 0x5700_0000..=0x577f_ffff;
/// The same for groups. The kernel turns neither into the other, so their ids are apart.
pub const GROUP_IDS: std::ops::RangeInclusive<u32> = 0x5780_0000..=0x57ff_ffff;

/// An action that failed: its words name the object and the operation.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {action}: {error}")]
pub struct Failure {
    /// What was to be done.
    pub action: Action,
    /// Why it wasn't.
    #[source]
    pub error: Error,
}

/// Carries out `actions` in order, many in one system call. Goes on past failures.
/// Returns the result of each, in order.
///
/// Deleting what is not there any more counts as done.
pub fn apply(kernel: &mut Kernel, actions: &[Action]) -> Vec<Result<(), Error>> {
    let mut run = Run {
        kernel,
        indexes: Indexes::default(),
        queue: Vec::new(),
        results: Vec::new(),
    };
    for action in actions {
        run.carry_out(action);
    }
    run.flush();
    let outcome = actions.iter().zip(run.results);
    outcome
        .map(|(action, result)| result.or_else(|error| forgive(action, error)))
        .collect()
}

/// The failed ones of `actions`, given the results of [`apply`].
pub fn failures(actions: &[Action], results: Vec<Result<(), Error>>) -> Vec<Failure> {
    let outcome = actions.iter().zip(results);
    let failed = outcome.filter_map(|(action, result)| Some((action, result.err()?)));
    failed
        .map(|(action, error)| Failure {
            action: action.clone(),
            error,
        })
        .collect()
}

struct Run<'k> {
    kernel: &'k mut Kernel,
    indexes: Indexes,
    /// Requests not sent yet; they belong to the results that are to come.
    queue: Vec<Request>,
    results: Vec<Result<(), Error>>,
}

impl Run<'_> {
    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::CreateLink(name, vxlan) => {
                self.flush();
                let result = self.create(*name, vxlan);
                self.results.push(result);
            }
            Action::DeleteLink(_) => {
                self.enqueue(action);
                self.flush();
                self.indexes.clear();
            }
            Action::SetChecksum(name, on) => {
                self.flush();
                let result = ethtool::set_tx_checksum(self.kernel.control(), *name, *on);
                self.results.push(result);
            }
            Action::Nft(change) => {
                self.flush();
                self.results
                    .push(nft::apply(&mut self.kernel.netfilter, change));
            }
            _ => self.enqueue(action),
        }
    }

    fn create(&mut self, name: DeviceName, vxlan: &Vxlan) -> Result<(), Error> {
        self.indexes.clear();
        self.kernel.route.execute_one(&link::create(name, vxlan))?;
        let index = self.index(name)?;
        match self.kernel.route.execute_one(&link::no_own_address(index)) {
            // A kernel without IPv6 gives it no address anyway.
            Err(error) if error.errno() != Some(Errno::EAFNOSUPPORT) => Err(error),
            _ => self.kernel.route.execute_one(&link::up(index)),
        }
    }

    fn enqueue(&mut self, action: &Action) {
        match self.encode(action) {
            Ok(request) => self.queue.push(request),
            Err(error) => {
                self.flush();
                self.results.push(Err(error));
            }
        }
    }

    fn flush(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        self.results.extend(self.kernel.route.execute(&queue));
    }

    fn index(&mut self, name: DeviceName) -> Result<u32, Error> {
        self.indexes.of(&mut self.kernel.route, name)
    }

    fn encode(&mut self, action: &Action) -> Result<Request, Error> {
        Ok(match action {
            Action::ModifyLink { name, from, to } => link::modify(self.index(*name)?, from, to),
            Action::DeleteLink(name) => link::delete(self.index(*name)?),
            Action::SetSetting { key, value, .. } => {
                link::set(self.index(key.device)?, key.setting, *value)
            }
            Action::AddAddress(own) => address::add(self.index(own.device)?, own.address),
            Action::DeleteAddress(own) => address::delete(self.index(own.device)?, own.address),
            Action::SetFdb(key, remote) => {
                neighbour::set_fdb(self.index(key.device)?, key.mac, *remote)
            }
            Action::DeleteFdb(key, remote) => {
                neighbour::delete_fdb(self.index(key.device)?, key.mac, *remote)
            }
            Action::SetNeighbour(key, mac) => {
                neighbour::set(self.index(key.device)?, key.address, *mac)
            }
            Action::DeleteNeighbour(key) => neighbour::delete(self.index(key.device)?, key.address),
            Action::AddNexthop(id, nexthop) => {
                let overwrite = if NEXTHOP_IDS.contains(id) {
                    REPLACE
                } else {
                    EXCL
                };
                nexthop::set(
                    CREATE | overwrite,
                    *id,
                    nexthop,
                    self.index(nexthop.device)?,
                )
            }
            Action::ReplaceNexthop(id, nexthop) => {
                nexthop::set(REPLACE, *id, nexthop, self.index(nexthop.device)?)
            }
            Action::AddGroup(id, members) => {
                let overwrite = if GROUP_IDS.contains(id) {
                    REPLACE
                } else {
                    EXCL
                };
                nexthop::set_group(CREATE | overwrite, *id, members)
            }
            Action::ReplaceGroup(id, members) => nexthop::set_group(REPLACE, *id, members),
            Action::DeleteNexthop(id) | Action::DeleteGroup(id) => nexthop::delete(*id),
            Action::AddRoute(key, route) | Action::ReplaceRoute(key, route) => {
                let index = match &route.target {
                    RouteTarget::Device { device, .. } => Some(self.index(*device)?),
                    _ => None,
                };
                route::set(CREATE | REPLACE, key, route, index)
            }
            Action::DeleteRoute(key) => route::delete(key),
            // Not single requests; `carry_out` has dealt with them.
            Action::CreateLink(..) | Action::SetChecksum(..) | Action::Nft(_) => {
                return Err(Error::Socket {
                    operation: "encode",
                    errno: Errno::EINVAL,
                });
            }
        })
    }
}

/// What was to be deleted and isn't there is as it should be.
fn forgive(action: &Action, error: Error) -> Result<(), Error> {
    let deletes = matches!(
        action,
        Action::DeleteLink(_)
            | Action::DeleteAddress(_)
            | Action::DeleteFdb(..)
            | Action::DeleteNeighbour(_)
            | Action::DeleteNexthop(_)
            | Action::DeleteGroup(_)
            | Action::DeleteRoute(_)
            | Action::Nft(nft::Change::Delete)
    );
    if deletes && error.is_absent() {
        Ok(())
    } else {
        Err(error)
    }
}
