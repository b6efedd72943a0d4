//! The address of this node in the underlay: what the node has is read ([`read`]), which of
//! it to use is decided by a pure function ([`choose_address`]).

mod candidate;
mod choose;
mod device;
mod facts;
mod gateways;
mod read;

pub use candidate::Refusal;
pub use choose::{ChooseError, Method, NodeAddress, choose_address};
pub use device::matches;
pub use facts::{AddressFacts, DefaultRoute, Facts, LinkFacts, RouteTo};
pub use gateways::{Gateways, Presence};
pub use read::{ReadError, read};
