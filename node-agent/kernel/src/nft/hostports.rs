//! Host ports of one pod, added and removed without touching anything else.

use nix::errno::Errno;

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::change::{add_ports, apply, remove_ports, transact};
use super::conntrack;
use super::value::{Change, HostPort, NftTable};
use crate::kernel::Kernel;
use crate::netlink::Error;

/// Adds host ports. If the table isn't there, as no agent has run on this node yet, it is
/// made from `otherwise`, with these ports.
///
/// # Errors
/// `EBUSY` or `EEXIST` if a port leads to another pod already: nothing is changed then.
pub fn hostports_add(
    kernel: &mut Kernel,
    ports: &[HostPort],
    otherwise: &NftTable,
) -> Result<(), Error> {
    let mut messages = Vec::new();
    add_ports(ports, &pods_of(ports), &mut messages);
    match transact(&mut kernel.netfilter, &messages) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => {
            let mut table = otherwise.clone();
            table.hostports.extend(ports.iter().copied());
            apply(&mut kernel.netfilter, &Change::Create(table))
        }
        outcome => outcome.and_then(|()| forget(kernel, ports)),
    }
}

/// Removes host ports: all those of the pods they lead to. What isn't there is as it
/// should be.
pub fn hostports_remove(kernel: &mut Kernel, ports: &[HostPort]) -> Result<(), Error> {
    let mut messages = Vec::new();
    remove_ports(ports, &pods_of(ports), &mut messages);
    if transact(&mut kernel.netfilter, &messages).is_ok() {
        return forget(kernel, ports);
    }
    // Some of it is gone already, or all: then each by itself.
    let single = ports.iter().map(|port| (vec![*port], vec![]));
    let pods = pods_of(ports).into_iter().map(|pod| (vec![], vec![pod]));
    for (ports, pods) in single.chain(pods) {
        let mut messages = Vec::new();
        remove_ports(&ports, &pods, &mut messages);
        match transact(&mut kernel.netfilter, &messages) {
            Err(error) if error.errno() != Some(Errno::ENOENT) => return Err(error),
            _ => {}
        }
    }
    forget(kernel, ports)
}

fn forget(kernel: &mut Kernel, ports: &[HostPort]) -> Result<(), Error> {
    let keys: Vec<_> = ports.iter().map(|(key, _)| *key).collect();
    conntrack::forget(&mut kernel.netfilter, &keys)
}

fn pods_of(ports: &[HostPort]) -> Vec<IpAddr> {
    let pods: BTreeSet<_> = ports.iter().map(|(_, target)| target.address).collect();
    pods.into_iter().collect()
}
