//! Reading the table, and whether it is still as Weft made it.

use nix::errno::Errno;

use super::elements::{Raw, hairpin, read, read_hostport, read_ranges};
use super::layout::{CHAINS, SetLayout, rules, set_names, sets};
use super::uapi::*;
use super::userdata;
use super::value::{NftTable, pods};
use crate::netlink::{Attributes, Connection, Error, Message, Request};
use crate::state::Family;

const NF_ACCEPT: u32 = 1;

/// A chain: name, type, hook number, priority, policy.
type Chain = (String, Option<(String, u32, i32)>, u32);

/// What the kernel has of the table; `None` if there is none.
pub(crate) fn observe(netfilter: &mut Connection) -> Result<Option<NftTable>, Error> {
    let mut get = request(GETTABLE, 0);
    get.text(TABLE_NAME, TABLE);
    let mut flags = None;
    let outcome = netfilter.get(&get, |message| {
        flags = message
            .after(4)
            .map(|(_, table)| table.be32(TABLE_FLAGS).unwrap_or(0));
    });
    match outcome {
        Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(None),
        outcome => outcome?,
    }
    let mut table = NftTable {
        masquerade_mark: 0,
        ..NftTable::default()
    };
    let comments = netfilter.dump(&of_table(GETRULE, RULE_TABLE), read_rule)?;
    if let Some(made_from) = comments
        .first()
        .and_then(|(_, comment)| userdata::parse(comment))
    {
        (table.masquerade_mark, table.node_v4, table.node_v6) = made_from;
    }
    table.intact = flags == Some(0)
        && comments == expected_comments(&table)
        && chains_intact(netfilter)?
        && sets_intact(netfilter)?;
    if table.intact {
        read_elements(netfilter, &mut table)?;
    }
    Ok(Some(table))
}

fn of_table(kind: u16, attribute: u16) -> Request {
    let mut get = request(kind, 0);
    get.text(attribute, TABLE);
    get
}

/// Whether a notification is about the table or something in it.
pub(crate) fn is_about_our_table(message: Message<'_>) -> bool {
    let ours = |(header, attributes): (&[u8], _)| header[0] == NFPROTO_INET && is_ours(attributes);
    message.kind != NEWGEN && message.after(4).is_some_and(ours)
}

fn is_ours(attributes: Attributes<'_>) -> bool {
    // All of a table's objects name it by attribute 1.
    attributes.text(1).as_deref() == Some(TABLE)
}

/// Chain and comment of a rule.
fn read_rule(message: Message<'_>) -> Option<(String, String)> {
    let (_, rule) = message.after(4).filter(|(_, rule)| is_ours(*rule))?;
    let comment = rule
        .get(RULE_USERDATA)
        .and_then(userdata::decode)
        .unwrap_or_default();
    Some((rule.text(RULE_CHAIN)?, comment))
}

/// Rules are listed chain by chain, in the order in which the chains were made.
fn expected_comments(table: &NftTable) -> Vec<(String, String)> {
    let rules = rules(table).into_iter().enumerate();
    rules
        .map(|(index, rule)| (rule.chain.into(), userdata::comment(table, index, &rule)))
        .collect()
}

fn chains_intact(netfilter: &mut Connection) -> Result<bool, Error> {
    let mut found = netfilter.dump(&of_table(GETCHAIN, CHAIN_TABLE), read_chain)?;
    let mut expected: Vec<Chain> = CHAINS
        .iter()
        .map(|chain| {
            let base = chain
                .base
                .map(|(kind, hook, priority)| (kind.into(), hook, priority));
            let policy = if base.is_some() { NF_ACCEPT } else { 0 };
            (chain.name.into(), base, policy)
        })
        .collect();
    found.sort();
    expected.sort();
    Ok(found == expected)
}

fn read_chain(message: Message<'_>) -> Option<Chain> {
    let (_, chain) = message.after(4).filter(|(_, chain)| is_ours(*chain))?;
    let hook = chain.nested(CHAIN_HOOK);
    let base = hook.be32(HOOK_NUMBER).map(|number| {
        let priority = hook.be32(HOOK_PRIORITY).unwrap_or_default() as i32;
        (chain.text(CHAIN_TYPE).unwrap_or_default(), number, priority)
    });
    Some((
        chain.text(CHAIN_NAME)?,
        base,
        chain.be32(CHAIN_POLICY).unwrap_or(0),
    ))
}

fn sets_intact(netfilter: &mut Connection) -> Result<bool, Error> {
    let mut found = netfilter.dump(&of_table(GETSET, SET_TABLE), |message| {
        let (_, set) = message.after(4).filter(|(_, set)| is_ours(*set))?;
        let number = |kind| set.be32(kind).unwrap_or(0);
        let lengths = (number(SET_KEY_LENGTH), number(SET_DATA_LENGTH));
        Some((set.text(SET_NAME)?, number(SET_FLAGS), lengths))
    })?;
    let shape = |set: SetLayout| {
        let lengths = (set.key.1, set.value.map_or(0, |(_, length)| length));
        (set.name.to_owned(), set.flags, lengths)
    };
    let mut expected: Vec<_> = sets().into_iter().map(shape).collect();
    found.sort();
    expected.sort();
    Ok(found == expected)
}

fn read_elements(netfilter: &mut Connection, table: &mut NftTable) -> Result<(), Error> {
    let mut hairpins = Vec::new();
    for family in Family::BOTH {
        let names = set_names(family);
        table
            .pools
            .extend(read_ranges(dump(netfilter, names.pools)?));
        for map in [names.ports, names.ports_of_address] {
            let elements = dump(netfilter, map)?;
            let ports = elements
                .iter()
                .filter_map(|element| read_hostport(family, element));
            table.hostports.extend(ports);
        }
        hairpins.extend(
            dump(netfilter, names.hairpin)?
                .into_iter()
                .map(|(key, ..)| key),
        );
    }
    // These follow from the host ports; if they don't, somebody has been there.
    let mut expected: Vec<_> = pods(table)
        .into_iter()
        .map(|pod| hairpin(pod).key)
        .collect();
    hairpins.sort();
    expected.sort();
    table.intact = hairpins == expected;
    Ok(())
}

fn dump(netfilter: &mut Connection, set: &str) -> Result<Vec<Raw>, Error> {
    let mut get = of_table(GETSETELEM, ELEMENTS_TABLE);
    get.text(ELEMENTS_SET, set);
    let lists = netfilter.dump(&get, |message| {
        let (_, list) = message.after(4)?;
        let elements = list
            .nested(ELEMENTS)
            .filter_map(|(_, bytes)| read(Attributes(bytes)));
        Some(elements.collect::<Vec<_>>())
    })?;
    Ok(lists.into_iter().flatten().collect())
}
