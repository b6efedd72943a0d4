//! Any bytes as the body of an UPDATE, under any agreement: decoding never panics, and what was understood can be
//! said again and means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_bgp::route::{Family, Update};
use weft_bgp::wire::{self, Framer, PerFamily, Receive, Transmit};

fuzz_target!(|input: &[u8]| {
    let Some((agreed, body)) = input.split_first() else {
        return;
    };
    let bit = |n: u8| agreed & (1 << n) != 0;
    let families = PerFamily {
        ipv4: true,
        ipv6: true,
    };
    let add_path = PerFamily {
        ipv4: bit(2),
        ipv6: bit(3),
    };
    let receive = Receive {
        external: bit(0),
        first_as: None,
        as4: bit(1),
        families,
        add_path,
        extended_next_hop: bit(4),
    };
    let Ok(decoded) = wire::decode(body, &receive) else {
        return;
    };
    let transmit = Transmit {
        as4: bit(1),
        add_path,
        extended_next_hop: bit(4),
        families,
        max: wire::MAX_EXTENDED,
    };
    let mut bytes = Vec::new();
    let unsendable = wire::encode(&decoded.updates, &transmit, &mut bytes);
    let mut framer = Framer::new(wire::MAX_EXTENDED);
    framer.push(&bytes);
    let mut again = Vec::new();
    while let Some(frame) = framer.pop().expect("what is encoded can be framed") {
        let decoded = wire::decode(frame.body, &receive).expect("what is encoded can be decoded");
        again.extend(decoded.updates);
    }
    if unsendable == 0 {
        for family in Family::ALL {
            assert_eq!(count(&again, family), count(&decoded.updates, family));
        }
    }
});

/// How many prefixes of a family are withdrawn and announced.
fn count(updates: &[Update], family: Family) -> (usize, usize) {
    let of_family = updates.iter().filter(|update| update.family == family);
    of_family.fold((0, 0), |(withdrawn, announced), update| {
        let more = update.announced.as_ref().map_or(0, |(_, nlri)| nlri.len());
        (withdrawn + update.withdrawn.len(), announced + more)
    })
}
