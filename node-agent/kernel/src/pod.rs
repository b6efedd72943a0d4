//! Pod attachment: the veth, its addresses and routes.
