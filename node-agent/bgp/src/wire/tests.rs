mod codec;
mod defects;
mod frames;
mod properties;

use super::*;

/// An iBGP peer with everything agreed on.
const INTERNAL: Receive = Receive {
    external: false,
    first_as: None,
    as4: true,
    families: PerFamily {
        ipv4: true,
        ipv6: true,
    },
    add_path: PerFamily {
        ipv4: false,
        ipv6: false,
    },
    extended_next_hop: true,
};

const EXTERNAL: Receive = Receive {
    external: true,
    ..INTERNAL
};

const PLAIN: Transmit = Transmit {
    as4: true,
    families: INTERNAL.families,
    add_path: PerFamily {
        ipv4: false,
        ipv6: false,
    },
    extended_next_hop: false,
    max: MAX,
};

/// Type and body of each message of a whole stream.
fn messages(stream: &[u8]) -> Vec<(Kind, Vec<u8>)> {
    let mut framer = Framer::new(MAX_EXTENDED);
    framer.push(stream);
    let mut messages = Vec::new();
    while let Some(frame) = framer.pop().unwrap() {
        messages.push((frame.kind, frame.body.to_vec()));
    }
    messages
}
