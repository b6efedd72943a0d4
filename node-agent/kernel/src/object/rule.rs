//! Policy rules.

use super::uapi::*;
use super::{family_number, family_of};
use crate::netlink::{Message, Request};
use crate::state::{Family, Mark, PROTOCOL, Rule};

/// Asks for all rules of a family.
pub(crate) fn dump(family: Family) -> Request {
    let mut header = [0; 12];
    header[0] = family_number(family);
    Request::new(RTM_GETRULE, 0, &header)
}

pub(crate) fn add(rule: &Rule) -> Request {
    request(RTM_NEWRULE, CREATE | EXCL, rule)
}

pub(crate) fn delete(rule: &Rule) -> Request {
    request(RTM_DELRULE, 0, rule)
}

/// Reads a rule of Weft's.
pub(crate) fn parse(message: Message<'_>) -> Option<Rule> {
    let (header, attributes) = message.after(12).filter(|_| message.kind == RTM_NEWRULE)?;
    if attributes.u8(FRA_PROTOCOL) != Some(PROTOCOL) {
        return None;
    }
    let mark = attributes.u32(FRA_FWMARK).map(|value| Mark {
        value,
        mask: attributes.u32(FRA_FWMASK).unwrap_or(u32::MAX),
    });
    Some(Rule {
        priority: attributes.u32(FRA_PRIORITY).unwrap_or(0),
        family: family_of(header[0])?,
        mark,
        table: attributes.u32(FRA_TABLE).unwrap_or(header[4].into()),
    })
}

fn request(kind: u16, flags: i32, rule: &Rule) -> Request {
    let mut header = [0; 12];
    header[0] = family_number(rule.family);
    header[7] = FR_ACT_TO_TBL;
    let mut request = Request::new(kind, flags, &header);
    request
        .u32(FRA_PRIORITY, rule.priority)
        .u32(FRA_TABLE, rule.table)
        .u8(FRA_PROTOCOL, PROTOCOL);
    if let Some(mark) = rule.mark {
        request
            .u32(FRA_FWMARK, mark.value)
            .u32(FRA_FWMASK, mark.mask);
    }
    request
}
