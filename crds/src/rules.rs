//! The validation rules that are longer than a line, in CEL.
//!
//! The API server runs them, so a bad spec never reaches the operator. Each message names the field
//! and the fix. Source: <https://kubernetes.io/docs/reference/using-api/cel/>.

use kube::core::{Message, Rule};

/// Rules on the object as a whole.
pub(crate) fn config_name() -> Rule {
    Rule::new("self.metadata.name == 'default'").message(
        "metadata.name: a cluster has one NetworkConfig, named \"default\"; change the name to default",
    )
}

const IS_V4: &str = "cidr(self.cidr).ip().family() == 4";

/// The block size of a pool in prefix bits, with the default of its family where it is unset.
fn block_size(object: &str) -> String {
    format!(
        "(has({object}.blockSize) ? {object}.blockSize : (cidr({object}.cidr).ip().family() == 4 ? 26 : 122))"
    )
}

/// A rule over `self` that holds for anything that is no CIDR, so that only the rule about the
/// syntax speaks then.
fn on_cidr(expression: &str) -> String {
    format!("!isCIDR(self.cidr) || ({expression})")
}

/// The CIDR can be parsed.
pub(crate) fn pool_syntax() -> Rule {
    Rule::new("isCIDR(self.cidr)").message(
        "cidr: must be an address range in CIDR notation, such as 10.244.0.0/16 or fd00:10:244::/56",
    )
}

/// The CIDR has no host bits.
pub(crate) fn pool_canonical() -> Rule {
    Rule::new(on_cidr("cidr(self.cidr) == cidr(self.cidr).masked()"))
        .message("cidr: has bits set after the prefix length; write the network address, such as 10.244.0.0/16 instead of 10.244.0.1/16")
}

/// One range has one spelling, because other objects name a pool by it. (`string(cidr)` and
/// `ip.isCanonical` would say it all, and are beyond the budget that the API server grants to a list.)
pub(crate) fn pool_spelling() -> Rule {
    Rule::new(on_cidr(
        "!self.cidr.matches('[A-F]|(^|:)0[0-9a-f]|(^|:)0::|::0:') && (self.cidr.contains('::') || !self.cidr.matches('(^|:)0:0[:/]'))",
    ))
    .message("cidr: write it in the canonical form, in lower case, without leading zeros and with the longest run of zeros as ::, such as fd00:10:244::/56")
}

/// The range is one that pods can have.
pub(crate) fn pool_reserved() -> Rule {
    let reserved = |list: &[&str]| {
        list.iter()
            .map(|r| {
                format!(
                    "cidr('{r}').containsCIDR(self.cidr) || cidr(self.cidr).containsCIDR('{r}')"
                )
            })
            .collect::<Vec<_>>()
            .join(" || ")
    };
    let v4 = reserved(&["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"]);
    let v6 = reserved(&["::/8", "fe80::/10", "ff00::/8"]);
    Rule::new(on_cidr(&format!("{IS_V4} ? !({v4}) : !({v6})"))).message(
        "cidr: overlaps a loopback, link-local, multicast or reserved range; choose a private range such as 10.244.0.0/16 or fd00:10:244::/56",
    )
}

/// The block size suits the family.
pub(crate) fn pool_block_range() -> Rule {
    Rule::new(on_cidr(&format!(
        "!has(self.blockSize) || ({IS_V4} ? self.blockSize >= 16 && self.blockSize <= 29 : self.blockSize >= 96 && self.blockSize <= 125)"
    )))
    .message("blockSize: must be a prefix length from 16 to 29 for an IPv4 pool and from 96 to 125 for an IPv6 pool; the defaults are 26 and 122")
}

/// The pool holds at least one block.
pub(crate) fn pool_block_fits() -> Rule {
    Rule::new(on_cidr(&format!(
        "cidr(self.cidr).prefixLength() <= {}",
        block_size("self")
    )))
    .message("blockSize: a block would be larger than the pool; make blockSize at least the prefix length of cidr, or the pool larger")
}

/// The block size of a pool that exists never changes: blocks of two sizes would overlap.
pub(crate) fn pool_block_immutable() -> Rule {
    Rule::new(format!(
        "!isCIDR(self.cidr) || !isCIDR(oldSelf.cidr) || {} == {}",
        block_size("self"),
        block_size("oldSelf")
    ))
    .message("blockSize: can't change while the pool exists; add a second pool with the new blockSize and set disabled: true on this one")
}

/// No two pools share an address.
pub(crate) fn pools_overlap() -> Rule {
    Rule::new(
        "self.all(a, !isCIDR(a.cidr) || self.exists_one(b, isCIDR(b.cidr) && cidr(a.cidr).ip().family() == cidr(b.cidr).ip().family() && (cidr(a.cidr).containsCIDR(b.cidr) || cidr(b.cidr).containsCIDR(a.cidr))))",
    )
    .message("pools: two pools overlap; make their cidr ranges disjoint")
}

/// Something can be allocated.
pub(crate) fn pools_enabled() -> Rule {
    Rule::new("self.exists(p, !p.disabled)")
        .message("pools: every pool is disabled; set disabled: false on one, or add a pool")
}

/// A pool goes in two steps, so that its blocks have time to empty.
pub(crate) fn pools_removal() -> Rule {
    Rule::new("oldSelf.all(o, o.disabled || self.exists(n, n.cidr == o.cidr))")
        .message("pools: a pool that is in use can't be removed or have its cidr changed; first set disabled: true on it, wait until its blocks are released, then remove it")
}

/// Each family is there throughout, once it is there: pods of it have addresses.
pub(crate) fn pools_families() -> Rule {
    let has = |list: &str, family: u8| {
        format!("{list}.exists(p, isCIDR(p.cidr) && cidr(p.cidr).ip().family() == {family})")
    };
    Rule::new(format!(
        "(!{} || {}) && (!{} || {})",
        has("oldSelf", 4),
        has("self", 4),
        has("oldSelf", 6),
        has("self", 6)
    ))
    .message("pools: the last pool of an address family can't be removed while the config exists; keep one pool of each family that pods have")
}

/// IPv6 needs links of at least 1280 bytes (RFC 8200, section 5).
pub(crate) fn mtu_ipv6() -> Rule {
    Rule::new(
        "!has(self.mtu) || self.mtu >= 1280 || !self.pools.exists(p, isCIDR(p.cidr) && cidr(p.cidr).ip().family() == 6)",
    )
    .message("mtu: IPv6 needs at least 1280; raise mtu, leave it out, or remove the IPv6 pools")
}

fn method_list(method: &str, field: &str, example: &str) -> (Rule, Rule) {
    (
        Rule::new(format!(
            "self.method != '{method}' || (has(self.{field}) && size(self.{field}) > 0)"
        ))
        .message(Message::Message(format!(
            "{field}: method {method} needs it; set {field}, such as {example}, or choose another method"
        ))),
        Rule::new(format!(
            "self.method == '{method}' || !has(self.{field}) || size(self.{field}) == 0"
        ))
        .message(Message::Message(format!(
            "{field}: is only for method {method}; remove {field}, or set method: {method}"
        ))),
    )
}

pub(crate) fn address_cidrs() -> Rule {
    method_list("CIDR", "cidrs", "[192.0.2.0/24]").0
}
pub(crate) fn address_cidrs_alone() -> Rule {
    method_list("CIDR", "cidrs", "").1
}
pub(crate) fn address_interfaces() -> Rule {
    method_list("Interface", "interfaces", "[eth0]").0
}
pub(crate) fn address_interfaces_alone() -> Rule {
    method_list("Interface", "interfaces", "").1
}
pub(crate) fn address_target() -> Rule {
    method_list("CanReach", "target", "192.0.2.1").0
}
pub(crate) fn address_target_alone() -> Rule {
    method_list("CanReach", "target", "").1
}

pub(crate) fn address_cidrs_syntax() -> Rule {
    Rule::new("!has(self.cidrs) || self.cidrs.all(c, isCIDR(c))")
        .message("cidrs: each must be an address range in CIDR notation, such as 192.0.2.0/24")
}

pub(crate) fn address_interfaces_syntax() -> Rule {
    Rule::new("!has(self.interfaces) || self.interfaces.all(i, i.matches('^[^/\\\\s]{1,15}$'))")
        .message("interfaces: each must be the name of a network interface of 1 to 15 characters, or a pattern such as eth*")
}

pub(crate) fn address_target_syntax() -> Rule {
    Rule::new("!has(self.target) || isIP(self.target)")
        .message("target: must be an IP address, such as 192.0.2.1")
}

/// A percentage or a count of nodes, at least one.
pub(crate) fn max_unavailable() -> Rule {
    Rule::new(
        "!has(self.maxUnavailable) || (type(self.maxUnavailable) == int ? self.maxUnavailable >= 1 : self.maxUnavailable.matches('^([1-9][0-9]?|100)%$'))",
    )
    .message("maxUnavailable: must be a number of nodes, at least 1, or a percentage from 1% to 100%")
}

/// A block covers exactly what its name says; the name is what makes two creations collide.
pub(crate) fn block_named() -> Rule {
    Rule::new("self.metadata.name == self.spec.cidr.replace('.', '-').replace(':', '-').replace('/', '-')")
        .message("metadata.name: must be spec.cidr with '.', ':' and '/' replaced by '-'")
}

/// A block has one spelling, because its name follows from it.
pub(crate) fn block_range() -> Rule {
    Rule::new("isCIDR(self.cidr) && string(cidr(self.cidr).masked()) == self.cidr")
        .message("cidr: must be an address range in canonical CIDR notation, such as 10.244.0.64/26 or fd00:10:244::40/122")
}

/// A block is part of its pool.
pub(crate) fn block_in_pool() -> Rule {
    Rule::new(
        "!isCIDR(self.cidr) || (isCIDR(self.pool) && cidr(self.pool).containsCIDR(self.cidr))",
    )
    .message("pool: must be the address range of a pool that holds cidr")
}

/// What a block covers never changes.
pub(crate) fn block_immutable() -> Rule {
    Rule::new("self.cidr == oldSelf.cidr && self.pool == oldSelf.pool")
        .message("cidr and pool can't change; delete the block and create another")
}

/// A block goes from one node to another only by way of nobody.
pub(crate) fn block_handover() -> Rule {
    Rule::new(
        "!has(self.node) || !has(oldSelf.node) || (self.node == oldSelf.node && self.nodeUID == oldSelf.nodeUID)",
    )
    .message("node: a block can't be given to another node while one owns it; release it first")
}

/// Owned or released, never both or neither.
pub(crate) fn block_owner() -> Rule {
    Rule::new("has(self.node) == has(self.nodeUID) && has(self.node) != has(self.releasedAt)")
        .message("node and nodeUID: must both be set and releasedAt unset, or the other way round")
}

/// Whoever is to agree has to be able to see who moves first.
pub(crate) fn canary_labels() -> Rule {
    Rule::new("!has(self.canarySelector) || size(self.canarySelector) > 0")
        .message("canarySelector: needs at least one label, such as {weft.dev/canary: \"true\"}; leave it out to have no canaries")
}
