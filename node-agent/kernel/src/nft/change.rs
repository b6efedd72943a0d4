//! Changes of the table as transactions: all of a change takes effect at once.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::libc::{NLM_F_APPEND as APPEND, NLM_F_CREATE as CREATE, NLM_F_EXCL as EXCL};

use super::conntrack;
use super::elements::{Element, hairpin, of_hostport, ranges};
use super::layout::{ChainLayout, FLAG_MAP, SetLayout, chains, rules, set_names, sets};
use super::uapi::*;
use super::userdata;
use super::value::{Change, HostPort, HostPortKey, NftTable, pods};
use crate::netlink::{Connection, Error, Request};
use crate::state::Family;

/// Elements of one message; an attribute holds less than 64 KiB.
const CHUNK: usize = 400;
const NF_ACCEPT: u32 = 1;

/// Carries out a change, or nothing of it.
pub(crate) fn apply(netfilter: &mut Connection, change: &Change) -> Result<(), Error> {
    transact(netfilter, &messages(change))?;
    let ports: Vec<HostPortKey> = match change {
        Change::Create(table) => table.hostports.keys().copied().collect(),
        Change::Update { remove, add, .. } => {
            remove.iter().chain(add).map(|(key, _)| *key).collect()
        }
        Change::Rebuild(_) | Change::Delete => Vec::new(),
    };
    conntrack::forget(netfilter, &ports)
}

/// A message and the object it is about, in words.
pub(super) type Message = (String, Request);

pub(super) fn transact(netfilter: &mut Connection, messages: &[Message]) -> Result<(), Error> {
    let (begin, end) = batch();
    let requests: Vec<_> = messages
        .iter()
        .map(|(_, request)| request.clone())
        .collect();
    netfilter
        .transact(&begin, &requests, &end)
        .map_err(|(index, error)| {
            let about = index
                .and_then(|index| messages.get(index))
                .map(|(about, _)| about.as_str());
            match (error, about) {
                (Error::Kernel { errno, message }, Some(about)) => {
                    let separator = if message.is_empty() { "" } else { ": " };
                    Error::Kernel {
                        errno,
                        message: format!("{about}{separator}{message}"),
                    }
                }
                (error, _) => error,
            }
        })
}

fn messages(change: &Change) -> Vec<Message> {
    match change {
        Change::Create(table) => create(table),
        Change::Rebuild(table) => [clear(Table::Inet), create(table)].concat(),
        Change::Delete => Table::BOTH.into_iter().flat_map(clear).collect(),
        Change::Update {
            pools,
            remove,
            add,
            remove_pods,
            add_pods,
        } => {
            let mut messages = Vec::new();
            if let Some(pools) = pools {
                replace_pools(pools, &mut messages);
            }
            remove_ports(remove, remove_pods, &mut messages);
            add_ports(add, add_pods, &mut messages);
            messages
        }
    }
}

/// Messages that add host ports, and the pods that they lead to.
pub(super) fn add_ports(ports: &[HostPort], pods: &[IpAddr], messages: &mut Vec<Message>) {
    elements(
        NEWSETELEM,
        ports.iter().map(of_hostport).collect(),
        messages,
    );
    elements(
        NEWSETELEM,
        pods.iter().map(|pod| hairpin(*pod)).collect(),
        messages,
    );
}

/// Messages that remove host ports, and pods that have none any more.
pub(super) fn remove_ports(ports: &[HostPort], pods: &[IpAddr], messages: &mut Vec<Message>) {
    elements(
        DELSETELEM,
        ports.iter().map(of_hostport).collect(),
        messages,
    );
    elements(
        DELSETELEM,
        pods.iter().map(|pod| hairpin(*pod)).collect(),
        messages,
    );
}

fn replace_pools(pools: &[IpNet], messages: &mut Vec<Message>) {
    for family in Family::BOTH {
        let name = set_names(family).pools;
        let mut flush = request(DELSETELEM, 0);
        flush.text(ELEMENTS_TABLE, TABLE).text(ELEMENTS_SET, name);
        messages.push((format!("set {name}"), flush));
    }
    elements(NEWSETELEM, ranges(pools), messages);
}

/// Messages about elements, those of one set together.
fn elements(kind: u16, mut elements: Vec<Element>, messages: &mut Vec<Message>) {
    elements.sort_by_key(|element| element.set);
    for of_set in elements.chunk_by(|one, other| one.set == other.set) {
        for chunk in of_set.chunks(CHUNK) {
            let set = chunk[0].set;
            let mut message = request(kind, if kind == NEWSETELEM { CREATE } else { 0 });
            message.text(ELEMENTS_TABLE, TABLE).text(ELEMENTS_SET, set);
            message.nest(ELEMENTS, |list| {
                for element in chunk {
                    element.write(list, kind == NEWSETELEM);
                }
            });
            let about = if chunk.len() == 1 {
                format!(", {}", chunk[0].about)
            } else {
                String::new()
            };
            messages.push((format!("set {set}{about}"), message));
        }
    }
}

/// Deletes a table whether it is there or not: it is made first.
fn clear(table: Table) -> Vec<Message> {
    [(NEWTABLE, CREATE), (DELTABLE, 0)]
        .map(|(kind, flags)| {
            let mut message = request_in(table, kind, flags);
            message.text(TABLE_NAME, TABLE);
            ("table".into(), message)
        })
        .into()
}

fn create(value: &NftTable) -> Vec<Message> {
    // Of two that make the tables at the same time one is refused, by the first of them.
    let mut messages = clear(Table::Ip6);
    messages.extend(Table::BOTH.map(|table| {
        let mut message = request_in(table, NEWTABLE, CREATE | EXCL);
        message.text(TABLE_NAME, TABLE).be32(TABLE_FLAGS, 0);
        ("table".into(), message)
    }));
    messages.extend((1..).zip(sets()).map(|(id, set)| create_set(id, &set)));
    messages.extend(chains(value).iter().map(create_chain));
    for (index, rule) in rules(value).into_iter().enumerate() {
        let comment = userdata::comment(value, index, &rule);
        let mut message = request_in(rule.table, NEWRULE, CREATE | APPEND);
        message.text(RULE_TABLE, TABLE).text(RULE_CHAIN, rule.chain);
        message.nest(RULE_EXPRESSIONS, |list| {
            list.raw(rule.expressions.0.body());
        });
        message.bytes(RULE_USERDATA, &userdata::encode(&comment));
        messages.push((
            format!("chain {}, rule {:?}", rule.chain, rule.purpose),
            message,
        ));
    }
    elements(NEWSETELEM, ranges(&value.ranges()), &mut messages);
    let ports: Vec<_> = value
        .hostports
        .iter()
        .map(|(key, target)| (*key, *target))
        .collect();
    let pods: Vec<_> = pods(value).into_iter().collect();
    add_ports(&ports, &pods, &mut messages);
    messages
}

fn create_set(id: u32, set: &SetLayout) -> Message {
    let mut message = request(NEWSET, CREATE | EXCL);
    message
        .text(SET_TABLE, TABLE)
        .text(SET_NAME, set.name)
        .be32(SET_FLAGS, set.flags);
    message
        .be32(SET_KEY_TYPE, set.key.0)
        .be32(SET_KEY_LENGTH, set.key.1)
        .be32(SET_ID, id);
    if let (Some((kind, length)), FLAG_MAP) = (set.value, set.flags & FLAG_MAP) {
        message
            .be32(SET_DATA_TYPE, kind)
            .be32(SET_DATA_LENGTH, length);
    }
    (format!("set {}", set.name), message)
}

fn create_chain(chain: &ChainLayout) -> Message {
    let mut message = request_in(chain.table, NEWCHAIN, CREATE | EXCL);
    message
        .text(CHAIN_TABLE, TABLE)
        .text(CHAIN_NAME, chain.name);
    if let Some((kind, hook, priority)) = chain.base {
        message.nest(CHAIN_HOOK, |nest| {
            nest.be32(HOOK_NUMBER, hook)
                .be32(HOOK_PRIORITY, priority as u32);
        });
        message.be32(CHAIN_POLICY, NF_ACCEPT).text(CHAIN_TYPE, kind);
    }
    (format!("chain {}", chain.name), message)
}
