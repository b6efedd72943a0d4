//! The probe of what the kernel can do.
#![allow(clippy::unwrap_used)] // In helpers, as in tests.

use weft_kernel::capability::{Missing, probe};
use weft_kernel::testing::{in_netns, sh};

#[test]
fn this_kernel_has_all_and_the_probe_leaves_nothing() {
    in_netns(|| {
        let everything = "ip -d link; ip addr; ip rule; ip -6 rule; ip nexthop; nft list ruleset";
        let before = sh(everything);
        assert_eq!(probe(), Ok(Missing::new()));
        assert_eq!(sh(everything), before);
    });
}
