//! Traffic that can tell: what was sent, lost, doubled, late or reset.
//!
//! - the logic, without sockets and clocks: [`sequence`], [`sink`], [`packet`], [`frame`],
//!   [`stream`], [`dns_message`];
//! - what scenarios read and write: [`plan`], [`report`], [`control`];
//! - the programs: [`serve`], [`run`], [`merge`].

pub mod batch;
pub mod bulk_client;
pub mod control;
pub mod dns_client;
pub mod dns_message;
pub mod frame;
pub mod merge;
pub mod packet;
pub mod plan;
pub mod report;
pub mod run;
pub mod sequence;
pub mod serve;
pub mod sink;
pub mod socket;
pub mod stream;
pub mod tally;
pub mod tcp_client;
pub mod tcp_server;
pub mod udp_client;
pub mod udp_flow;
pub mod udp_server;
pub mod worker;

/// The port of a server unless told otherwise, of UDP and of TCP.
pub const PORT: u16 = 4701;
/// The control port of a client, by custom.
pub const CONTROL_PORT: u16 = 4702;
