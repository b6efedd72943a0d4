//! Reading the table, and whether it is still as Weft made it.

use nix::errno::Errno;

use super::elements::{Raw, hairpin, read, read_hostport, read_ranges};
use super::layout::{SetLayout, chains, rules, set_names, sets};
use super::uapi::*;
use super::userdata;
use super::value::{NftTable, pods};
use crate::netlink::{Attributes, Connection, Error, Message, Request};
use crate::state::Family;

const NF_ACCEPT: u32 = 1;

/// A chain: table, name, type, hook number, priority, policy.
type Chain = (Table, String, Option<(String, u32, i32)>, u32);

/// What the kernel has of the tables; `None` if there is neither.
pub(crate) fn observe(netfilter: &mut Connection) -> Result<Option<NftTable>, Error> {
    let [inet, ip6] = Table::BOTH.map(|table| flags(netfilter, table));
    let flags = [inet?, ip6?];
    if flags == [None; 2] {
        return Ok(None);
    }
    let mut table = NftTable {
        masquerade_mark: 0,
        ..NftTable::default()
    };
    let mut comments = Vec::new();
    for table in Table::BOTH {
        comments.extend(netfilter.dump(&of_table(table, GETRULE, RULE_TABLE), read_rule)?);
    }
    if let Some(made_from) = comments
        .first()
        .and_then(|(_, comment)| userdata::parse(comment))
    {
        (
            table.masquerade_mark,
            table.node_v4,
            table.node_v6,
            table.ipv4_sources,
        ) = made_from;
    }
    table.intact = flags == [Some(0); 2]
        && comments == expected_comments(&table)
        && chains_intact(netfilter, &table)?
        && sets_intact(netfilter)?;
    if table.intact {
        read_elements(netfilter, &mut table)?;
    }
    Ok(Some(table))
}

/// The flags of a table, if it is there.
fn flags(netfilter: &mut Connection, table: Table) -> Result<Option<u32>, Error> {
    let mut flags = None;
    let outcome = netfilter.get(&of_table(table, GETTABLE, TABLE_NAME), |message| {
        flags = message
            .after(4)
            .map(|(_, table)| table.be32(TABLE_FLAGS).unwrap_or(0));
    });
    match outcome {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
        outcome => outcome.map(|()| flags),
    }
}

fn of_table(table: Table, kind: u16, attribute: u16) -> Request {
    let mut get = request_in(table, kind, 0);
    get.text(attribute, TABLE);
    get
}

/// Whether a notification is about one of the tables or something in it.
pub(crate) fn is_about_our_table(message: Message<'_>) -> bool {
    let ours = |(header, attributes): (&[u8], _)| {
        Table::BOTH.iter().any(|table| table.family() == header[0]) && is_ours(attributes)
    };
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

fn chains_intact(netfilter: &mut Connection, value: &NftTable) -> Result<bool, Error> {
    let mut found = Vec::new();
    for table in Table::BOTH {
        let read = |message: Message<'_>| read_chain(table, message);
        found.extend(netfilter.dump(&of_table(table, GETCHAIN, CHAIN_TABLE), read)?);
    }
    let mut expected: Vec<Chain> = chains(value)
        .iter()
        .map(|chain| {
            let base = chain
                .base
                .map(|(kind, hook, priority)| (kind.into(), hook, priority));
            let policy = if base.is_some() { NF_ACCEPT } else { 0 };
            (chain.table, chain.name.into(), base, policy)
        })
        .collect();
    found.sort();
    expected.sort();
    Ok(found == expected)
}

fn read_chain(table: Table, message: Message<'_>) -> Option<Chain> {
    let (_, chain) = message.after(4).filter(|(_, chain)| is_ours(*chain))?;
    let hook = chain.nested(CHAIN_HOOK);
    let base = hook.be32(HOOK_NUMBER).map(|number| {
        let priority = hook.be32(HOOK_PRIORITY).unwrap_or_default() as i32;
        (chain.text(CHAIN_TYPE).unwrap_or_default(), number, priority)
    });
    Some((
        table,
        chain.text(CHAIN_NAME)?,
        base,
        chain.be32(CHAIN_POLICY).unwrap_or(0),
    ))
}

fn sets_intact(netfilter: &mut Connection) -> Result<bool, Error> {
    let mut found = netfilter.dump(&of_table(Table::Inet, GETSET, SET_TABLE), |message| {
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
    let mut get = of_table(Table::Inet, GETSETELEM, ELEMENTS_TABLE);
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
