//! The validation rules of BGP settings, in CEL.

use kube::core::Rule;

/// AS numbers that no node and no router can have.
pub(super) fn asn_usable() -> Rule {
    Rule::new("self != 23456 && self != 65535").message(
        "asn: 23456 and 65535 are reserved (RFC 6793, RFC 7300); choose another, such as 64512",
    )
}

/// Route reflectors are instead of a mesh.
pub(super) fn route_reflectors_use() -> Rule {
    Rule::new("!has(self.routeReflectors) || !self.nodeMesh").message(
        "routeReflectors: they take the place of the mesh; set nodeMesh: false, or remove routeReflectors",
    )
}

/// A cluster ID looks like an IPv4 address.
pub(super) fn cluster_id() -> Rule {
    Rule::new("isIP(self) && ip(self).family() == 4 && self != '0.0.0.0'").message(
        "clusterID: must be written as an IPv4 address other than 0.0.0.0, such as 0.0.0.1",
    )
}

/// An address that a router can have.
pub(super) fn peer_address() -> Rule {
    Rule::new("isIP(self) && ip.isCanonical(self) && !ip(self).isUnspecified() && !ip(self).isLoopback() && !ip(self).isLinkLocalMulticast() && !ip(self).isLinkLocalUnicast()")
        .message("address: must be the IP address of one router in canonical form, such as 192.0.2.1 or 2001:db8::1, and no loopback, link-local or multicast address")
}

/// A session can be spoken over one family only.
pub(super) fn source_family() -> Rule {
    Rule::new("!has(self.sourceAddress) || (isIP(self.sourceAddress) && (!isIP(self.address) || ip(self.sourceAddress).family() == ip(self.address).family()))")
        .message("sourceAddress: must be an IP address of the same family as address; change it or remove it")
}

/// RFC 4271, section 4.2.
pub(super) fn hold_time() -> Rule {
    Rule::new("self == 0 || self >= 3")
        .message("holdSeconds: must be 0, which means never, or at least 3 (RFC 4271)")
}

/// Hops belong to Multihop.
pub(super) fn reach() -> Rule {
    Rule::new("(self.reach == 'Multihop') == has(self.hops)").message(
        "hops: goes with reach: Multihop, which needs it; set both, or remove hops and choose another reach",
    )
}

/// The range can be parsed.
pub(super) fn prefix_range_syntax() -> Rule {
    Rule::new("isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked()").message(
        "cidr: must be an address range in CIDR notation without host bits, such as 192.0.2.0/24",
    )
}

/// The lengths make sense for the range.
pub(super) fn prefix_range_lengths() -> Rule {
    Rule::new(
        "!isCIDR(self.cidr) || [has(self.minLength) ? self.minLength : cidr(self.cidr).prefixLength()].all(least, [has(self.maxLength) ? self.maxLength : (cidr(self.cidr).ip().family() == 4 ? 32 : 128)].all(most, cidr(self.cidr).prefixLength() <= least && least <= most && most <= (cidr(self.cidr).ip().family() == 4 ? 32 : 128)))",
    )
    .message("minLength and maxLength: must be from the prefix length of cidr to 32 (IPv4) or 128 (IPv6), and minLength not above maxLength")
}

/// Each is two 16-bit numbers or three 32-bit ones.
pub(super) fn communities() -> Rule {
    let of_two = "c.matches('^[0-9]{1,5}:[0-9]{1,5}$') && c.split(':').all(n, int(n) <= 65535)";
    let of_three = "c.matches('^[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$') && c.split(':').all(n, int(n) <= 4294967295)";
    Rule::new(format!("self.all(c, ({of_two}) || ({of_three}))")).message(
        "communities: each must be two numbers up to 65535, such as 64512:100, or three up to 4294967295, such as 64512:1:2",
    )
}
