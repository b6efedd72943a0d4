//! How a cluster goes from one mode to another without losing a packet: what each node is told
//! ([`orders`]), and when the next step is allowed ([`advance`]).
//!
//! Both are pure and total, and name no mode: operator, agents, the model and the simulation run these very
//! functions. What makes a migration lossless are four rules, each a condition in `advance`:
//!
//! - nobody sends in a mode before every node accepts it (the barrier of [`Phase::Prepare`]) and probes have
//!   come through (that of [`Phase::Verify`]);
//! - nobody stops accepting a mode before every node has stopped sending in it (that of [`Phase::Confirm`]);
//! - packets become smaller before anything that needs it, and larger after everything ([`Phase::LowerMTU`],
//!   [`Phase::RaiseMTU`]);
//! - a node that is not there is sent to as before, until it has said that it accepts the new mode.
//!
//! A barrier is met by what nodes *say that they do* at the present step, never by time or by what they were told.

mod advance;
mod facts;
mod orders;
mod state;
mod waves;
mod wish;

pub use advance::{Advance, RAISE_AFTER, Standing, Timers, Waits, advance};
pub use facts::{Fact, Trials};
pub use orders::{Node, Orders, orders};
pub use state::{Failure, Migration, Mode, Phase, State};
pub use waves::{EVERYBODY, position, share};
pub use wish::Wish;
