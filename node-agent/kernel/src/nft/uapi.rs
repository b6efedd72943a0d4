//! Numbers of nftables' netlink interface, with the names of `linux/netfilter/*.h`.

use nix::libc;

use crate::netlink::Request;

const SUBSYSTEM: u16 = 10;

pub(super) const NEWTABLE: u16 = SUBSYSTEM << 8;
pub(super) const GETTABLE: u16 = SUBSYSTEM << 8 | 1;
pub(super) const DELTABLE: u16 = SUBSYSTEM << 8 | 2;
pub(super) const NEWCHAIN: u16 = SUBSYSTEM << 8 | 3;
pub(super) const GETCHAIN: u16 = SUBSYSTEM << 8 | 4;
pub(super) const NEWRULE: u16 = SUBSYSTEM << 8 | 6;
pub(super) const GETRULE: u16 = SUBSYSTEM << 8 | 7;
pub(super) const NEWSET: u16 = SUBSYSTEM << 8 | 9;
pub(super) const GETSET: u16 = SUBSYSTEM << 8 | 10;
pub(super) const NEWSETELEM: u16 = SUBSYSTEM << 8 | 12;
pub(super) const GETSETELEM: u16 = SUBSYSTEM << 8 | 13;
pub(super) const DELSETELEM: u16 = SUBSYSTEM << 8 | 14;
pub(super) const NEWGEN: u16 = SUBSYSTEM << 8 | 15;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

pub(super) const TABLE_NAME: u16 = 1;
pub(super) const TABLE_FLAGS: u16 = 2;
pub(super) const CHAIN_TABLE: u16 = 1;
pub(super) const CHAIN_NAME: u16 = 3;
pub(super) const CHAIN_HOOK: u16 = 4;
pub(super) const CHAIN_POLICY: u16 = 5;
pub(super) const CHAIN_TYPE: u16 = 7;
pub(super) const HOOK_NUMBER: u16 = 1;
pub(super) const HOOK_PRIORITY: u16 = 2;
pub(super) const RULE_TABLE: u16 = 1;
pub(super) const RULE_CHAIN: u16 = 2;
pub(super) const RULE_EXPRESSIONS: u16 = 4;
pub(super) const RULE_USERDATA: u16 = 7;
pub(super) const SET_TABLE: u16 = 1;
pub(super) const SET_NAME: u16 = 2;
pub(super) const SET_FLAGS: u16 = 3;
pub(super) const SET_KEY_TYPE: u16 = 4;
pub(super) const SET_KEY_LENGTH: u16 = 5;
pub(super) const SET_DATA_TYPE: u16 = 6;
pub(super) const SET_DATA_LENGTH: u16 = 7;
pub(super) const SET_ID: u16 = 10;
pub(super) const ELEMENTS_TABLE: u16 = 1;
pub(super) const ELEMENTS_SET: u16 = 2;
pub(super) const ELEMENTS: u16 = 3;
pub(super) const LIST_ELEMENT: u16 = 1;
pub(super) const ELEMENT_KEY: u16 = 1;
pub(super) const ELEMENT_DATA: u16 = 2;
pub(super) const ELEMENT_FLAGS: u16 = 3;
pub(super) const ELEMENT_INTERVAL_END: u32 = 1;
pub(super) const DATA_VALUE: u16 = 1;

/// The name of both tables.
pub(super) const TABLE: &str = "weft";

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// `inet weft`, for both families.
    Inet,
    /// `ip6 weft`: IPv4 packets do not even come by.
    Ip6,
}

impl Table {
    pub(super) const BOTH: [Self; 2] = [Self::Inet, Self::Ip6];

    /// Its family's number, `NFPROTO_*`.
    pub(super) fn family(self) -> u8 {
        match self {
            Self::Inet => libc::NFPROTO_INET as u8,
            Self::Ip6 => libc::NFPROTO_IPV6 as u8,
        }
    }
}

/// A request about something of table `inet weft`.
pub(super) fn request(kind: u16, flags: i32) -> Request {
    request_in(Table::Inet, kind, flags)
}

/// A request about something of a table.
pub(super) fn request_in(table: Table, kind: u16, flags: i32) -> Request {
    // struct nfgenmsg: family, version, resource id.
    Request::new(kind, flags, &[table.family(), 0, 0, 0])
}

/// What opens and closes a transaction.
pub(super) fn batch() -> (Request, Request) {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    let header = [0, 0, high, low];
    (
        Request::new(BATCH_BEGIN, 0, &header),
        Request::new(BATCH_END, 0, &header),
    )
}
