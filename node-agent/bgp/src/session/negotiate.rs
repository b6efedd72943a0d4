//! What two speakers agree on, from the OPENs of both (RFC 4271, sections 4.2 and 6.2).

use std::net::Ipv4Addr;
use std::time::Duration;

use super::Config;
use crate::wire::{
    self, Capabilities, GracefulRestart, LongLived, Notification, Open, PerFamily, Receive,
    Transmit, error,
};

/// What holds for a session while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The peer's AS.
    pub peer_as: u32,
    /// The peer's BGP identifier.
    pub peer_id: Ipv4Addr,
    /// Is it an eBGP session?
    pub external: bool,
    /// After so long without a message the session ends; zero if it never does for that.
    pub hold_time: Duration,
    /// The families that both speak.
    pub families: PerFamily<bool>,
    /// Does the peer send all routes again when it is asked to (RFC 2918)?
    pub route_refresh: bool,
    /// Does it say where they begin and end (RFC 7313)?
    pub enhanced_route_refresh: bool,
    /// What the peer says of its graceful restart, if both ends speak it (RFC 4724).
    pub graceful_restart: Option<GracefulRestart>,
    /// What the peer says of long-lived graceful restart, for the families that both have it for (RFC 9494).
    pub long_lived: PerFamily<Option<LongLived>>,
    /// How the peer's UPDATEs are read.
    pub receive: Receive,
    /// How UPDATEs for the peer are written.
    pub transmit: Transmit,
}

impl Negotiated {
    /// Do routes outlive a NOTIFICATION that is no hard reset, and the end of the hold time (RFC 8538, section 4)?
    pub(super) fn outlives_notification(&self, ours: &Capabilities) -> bool {
        self.graceful_restart
            .is_some_and(|theirs| theirs.notification)
            && ours.graceful_restart.is_some_and(|ours| ours.notification)
    }
}

/// Why an OPEN is refused: for the peer, and for the admin.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) notification: Notification,
    pub(super) why: String,
}

/// What is agreed on with a peer that sent `open`, when `ours` was sent to it.
pub(super) fn negotiate(
    config: &Config,
    ours: &Capabilities,
    open: &Open,
) -> Result<Negotiated, Refusal> {
    let refuse = |error, data: &[u8], why: String| {
        Err(Refusal {
            notification: Notification::with_data(error, data),
            why,
        })
    };
    if open.asn != config.peer_as || open.asn == 0 {
        let why = format!("the peer has AS {}, expected {}", open.asn, config.peer_as);
        return refuse(error::BAD_PEER_AS, &[], why);
    }
    let external = open.asn != config.local_as;
    if open.id.is_unspecified() {
        return refuse(
            error::BAD_IDENTIFIER,
            &open.id.octets(),
            "the peer has no BGP identifier".to_owned(),
        );
    }
    if !external && open.id == config.id {
        let why = format!("the peer has this end's BGP identifier, {}", open.id);
        return refuse(error::BAD_IDENTIFIER, &open.id.octets(), why);
    }
    if matches!(open.hold_time, 1 | 2) {
        let why = format!(
            "the peer wants a hold time of {} s: at least 3 s are needed",
            open.hold_time
        );
        return refuse(
            error::UNACCEPTABLE_HOLD_TIME,
            &open.hold_time.to_be_bytes(),
            why,
        );
    }
    let theirs = &open.capabilities;
    let families = both(ours.families(), theirs.families());
    if !families.ipv4 && !families.ipv6 {
        let names = |families: PerFamily<bool>| match (families.ipv4, families.ipv6) {
            (true, true) => "IPv4 and IPv6",
            (true, false) => "IPv4 only",
            (false, true) => "IPv6 only",
            (false, false) => "neither IPv4 nor IPv6",
        };
        let (theirs, wanted) = (names(theirs.families()), names(ours.families()));
        let why =
            format!("no address family in common: the peer speaks {theirs}, this end {wanted}");
        return refuse(
            error::UNSUPPORTED_CAPABILITY,
            &wire::multiprotocol(ours.families()),
            why,
        );
    }

    let as4 = ours.as4.is_some() && theirs.as4.is_some();
    let extended_next_hop = ours.extended_next_hop && theirs.extended_next_hop;
    let graceful_restart = theirs
        .graceful_restart
        .filter(|_| ours.graceful_restart.is_some());
    let long_lived = ours.long_lived.zip(&theirs.long_lived, |ours, theirs| {
        theirs.filter(|_| ours.is_some() && graceful_restart.is_some())
    });
    let extended_message = ours.extended_message && theirs.extended_message;
    Ok(Negotiated {
        peer_as: open.asn,
        peer_id: open.id,
        external,
        hold_time: Duration::from_secs(config.hold_time.min(open.hold_time).into()),
        families,
        route_refresh: ours.route_refresh && theirs.route_refresh,
        enhanced_route_refresh: ours.enhanced_route_refresh && theirs.enhanced_route_refresh,
        graceful_restart,
        long_lived,
        receive: Receive {
            external,
            first_as: (external && config.check_first_as).then_some(open.asn),
            as4,
            families,
            add_path: ours
                .add_path
                .zip(&theirs.add_path, |ours, theirs| ours.receive && theirs.send),
            extended_next_hop,
        },
        transmit: Transmit {
            as4,
            families,
            add_path: ours
                .add_path
                .zip(&theirs.add_path, |ours, theirs| ours.send && theirs.receive),
            extended_next_hop,
            max: if extended_message {
                wire::MAX_EXTENDED
            } else {
                wire::MAX
            },
        },
    })
}

fn both(ours: PerFamily<bool>, theirs: PerFamily<bool>) -> PerFamily<bool> {
    ours.zip(&theirs, |ours, theirs| *ours && *theirs)
}
