//! nftables expressions, as far as Weft's rules need them.
//!
//! Values of one register sit in network byte order except marks, interface indexes and
//! address types, which are in host byte order.

use nix::libc;

use crate::netlink::Request;
use crate::state::Family;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
/// `NAT_RANGE_PROTO_RANDOM_FULLY`: without it two connections that start at the same time
/// can be given the same port, and one of them is dropped.
const RANDOM_FULLY: u32 = 0x10;

/// First 4-byte register; an address or a key of several parts begins here.
pub(super) const REGISTER: u32 = 8;

/// Which end of a packet.
#[derive(Clone, Copy)]
pub(super) enum End {
    Source,
    Destination,
}

/// The expressions of one rule, in order.
pub(super) struct Rule(pub(super) Request);

impl Rule {
    pub(super) fn new() -> Self {
        // Only the attributes are used; the header makes it a `Request`.
        Self(Request::new(0, 0, &[]))
    }

    fn add(mut self, name: &str, fill: impl FnOnce(&mut Request)) -> Self {
        self.0.nest(NFTA_LIST_ELEM, |element| {
            element
                .text(NFTA_EXPR_NAME, name)
                .nest(NFTA_EXPR_DATA, fill);
        });
        self
    }

    fn compare(self, register: u32, equal: bool, value: &[u8]) -> Self {
        self.add("cmp", |cmp| {
            cmp.be32(1, register).be32(2, if equal { 0 } else { 1 });
            cmp.nest(3, |data| {
                data.bytes(NFTA_DATA_VALUE, value);
            });
        })
    }

    fn meta(self, key: u32, register: u32) -> Self {
        self.add("meta", |meta| {
            meta.be32(2, key).be32(1, register);
        })
    }

    fn payload(self, base: u32, offset: u32, length: u32, register: u32) -> Self {
        self.add("payload", |payload| {
            payload
                .be32(1, register)
                .be32(2, base)
                .be32(3, offset)
                .be32(4, length);
        })
    }

    fn bitwise(self, register: u32, mask: &[u8]) -> Self {
        let zero = vec![0; mask.len()];
        self.add("bitwise", |bitwise| {
            bitwise
                .be32(1, register)
                .be32(2, register)
                .be32(3, mask.len() as u32);
            bitwise.nest(4, |data| {
                data.bytes(NFTA_DATA_VALUE, mask);
            });
            bitwise.nest(5, |data| {
                data.bytes(NFTA_DATA_VALUE, &zero);
            });
        })
    }

    /// Only packets of this family.
    pub(super) fn family(self, family: Family) -> Self {
        let number = match family {
            Family::V4 => libc::NFPROTO_IPV4,
            Family::V6 => libc::NFPROTO_IPV6,
        };
        self.meta(libc::NFT_META_NFPROTO as u32, REGISTER)
            .compare(REGISTER, true, &[number as u8])
    }

    /// Only packets that came in through a device whose name begins so, or doesn't.
    pub(super) fn in_through(self, prefix: &str, equal: bool) -> Self {
        self.meta(libc::NFT_META_IIFNAME as u32, REGISTER).compare(
            REGISTER,
            equal,
            prefix.as_bytes(),
        )
    }

    /// Only packets that go back along a connection which began the other way.
    pub(super) fn answering(self) -> Self {
        let direction = 1; // NFT_CT_DIRECTION
        let reply = 1; // IP_CT_DIR_REPLY
        self.add("ct", |ct| {
            ct.be32(1, REGISTER).be32(2, direction);
        })
        .compare(REGISTER, true, &[reply])
    }

    /// Only packets whose source isn't reached through the device that they came in by.
    pub(super) fn routed_elsewhere(self) -> Self {
        let result = 1; // NFT_FIB_RESULT_OIF
        let source_by_device = 1 | 8; // NFTA_FIB_F_SADDR, NFTA_FIB_F_IIF
        let whether = 32; // NFTA_FIB_F_PRESENT
        self.add("fib", |fib| {
            fib.be32(1, REGISTER)
                .be32(2, result)
                .be32(3, source_by_device | whether);
        })
        .compare(REGISTER, true, &[0; 4])
    }

    /// Only packets that have all bits of `mark`.
    pub(super) fn marked(self, mark: u32) -> Self {
        let bytes = mark.to_ne_bytes();
        self.meta(libc::NFT_META_MARK as u32, REGISTER)
            .bitwise(REGISTER, &bytes)
            .compare(REGISTER, true, &bytes)
    }

    /// Clears the bits of `mark`.
    pub(super) fn unmark(self, mark: u32) -> Self {
        let key = libc::NFT_META_MARK as u32;
        let rule = self
            .meta(key, REGISTER)
            .bitwise(REGISTER, &(!mark).to_ne_bytes());
        rule.add("meta", |meta| {
            meta.be32(2, key).be32(3, REGISTER);
        })
    }

    /// Loads an address.
    pub(super) fn address(self, family: Family, end: End, register: u32) -> Self {
        let (offset, length) = place(family, end);
        self.payload(
            libc::NFT_PAYLOAD_NETWORK_HEADER as u32,
            offset,
            length,
            register,
        )
    }

    /// Only packets whose address begins with `value` under `mask` (whole bytes).
    pub(super) fn address_under(
        self,
        family: Family,
        end: End,
        mask: &[u8],
        value: &[u8],
        equal: bool,
    ) -> Self {
        let (offset, _) = place(family, end);
        let base = libc::NFT_PAYLOAD_NETWORK_HEADER as u32;
        let rule = self.payload(base, offset, mask.len() as u32, REGISTER);
        let whole = mask.iter().all(|byte| *byte == 0xff);
        let rule = if whole {
            rule
        } else {
            rule.bitwise(REGISTER, mask)
        };
        rule.compare(REGISTER, equal, value)
    }

    /// Loads the transport protocol into one register and the destination port into the next.
    pub(super) fn protocol_and_port(self, register: u32) -> Self {
        self.meta(libc::NFT_META_L4PROTO as u32, register).payload(
            libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32,
            2,
            2,
            register + 1,
        )
    }

    /// Only packets whose loaded key is (or isn't) in a set.
    pub(super) fn in_set(self, set: &str, within: bool) -> Self {
        self.add("lookup", |lookup| {
            lookup.text(1, set).be32(2, REGISTER);
            if !within {
                lookup.be32(5, 1);
            }
        })
    }

    /// Looks the loaded key up in a map; the value takes the key's place.
    pub(super) fn mapped(self, map: &str) -> Self {
        self.add("lookup", |lookup| {
            lookup.text(1, map).be32(2, REGISTER).be32(3, REGISTER);
        })
    }

    /// Only packets whose destination is (or isn't) an address of this node.
    pub(super) fn if_to_local(self, local: bool) -> Self {
        let result = 3; // NFT_FIB_RESULT_ADDRTYPE
        let destination = 2; // NFTA_FIB_F_DADDR
        self.add("fib", |fib| {
            fib.be32(1, REGISTER).be32(2, result).be32(3, destination);
        })
        .compare(REGISTER, local, &u32::from(libc::RTN_LOCAL).to_ne_bytes())
    }

    /// Puts a constant into the first register.
    pub(super) fn constant(self, value: &[u8]) -> Self {
        self.add("immediate", |immediate| {
            immediate.be32(1, REGISTER).nest(2, |data| {
                data.bytes(NFTA_DATA_VALUE, value);
            });
        })
    }

    /// Source address from the first register, port chosen by the kernel.
    pub(super) fn snat(self, family: Family) -> Self {
        self.add("nat", |nat| {
            nat.be32(1, libc::NFT_NAT_SNAT as u32)
                .be32(2, number(family));
            nat.be32(3, REGISTER).be32(7, RANDOM_FULLY);
        })
    }

    /// Destination address and port from the registers that a map filled.
    pub(super) fn dnat(self, family: Family) -> Self {
        let words = match family {
            Family::V4 => 1,
            Family::V6 => 4,
        };
        self.add("nat", |nat| {
            nat.be32(1, libc::NFT_NAT_DNAT as u32)
                .be32(2, number(family));
            nat.be32(3, REGISTER).be32(5, REGISTER + words);
        })
    }

    /// Source address of the device that the packet leaves by.
    pub(super) fn masquerade(self) -> Self {
        self.add("masq", |masq| {
            masq.be32(1, RANDOM_FULLY);
        })
    }

    fn verdict(self, code: i32, chain: Option<&str>) -> Self {
        self.add("immediate", |immediate| {
            immediate
                .be32(1, libc::NFT_REG_VERDICT as u32)
                .nest(2, |data| {
                    data.nest(NFTA_DATA_VERDICT, |verdict| {
                        verdict.be32(1, code as u32);
                        if let Some(chain) = chain {
                            verdict.text(2, chain);
                        }
                    });
                });
        })
    }

    pub(super) fn drop(self) -> Self {
        self.verdict(libc::NF_DROP, None)
    }

    pub(super) fn back(self) -> Self {
        self.verdict(libc::NFT_RETURN, None)
    }

    pub(super) fn jump(self, chain: &str) -> Self {
        self.verdict(libc::NFT_JUMP, Some(chain))
    }
}

fn number(family: Family) -> u32 {
    match family {
        Family::V4 => libc::NFPROTO_IPV4 as u32,
        Family::V6 => libc::NFPROTO_IPV6 as u32,
    }
}

/// Offset and length of an address in the network header.
fn place(family: Family, end: End) -> (u32, u32) {
    match (family, end) {
        (Family::V4, End::Source) => (12, 4),
        (Family::V4, End::Destination) => (16, 4),
        (Family::V6, End::Source) => (8, 16),
        (Family::V6, End::Destination) => (24, 16),
    }
}
