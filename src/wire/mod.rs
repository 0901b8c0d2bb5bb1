//! The MySQL wire protocol as bytes: packets, the greeting, the login response, answers, commands, where a reply ends.
//!
//! Owns: every layout of bytes that the proxy reads or writes itself.
//! Never: sockets, clocks, logs. Bytes in, values out; nothing here can panic on hostile bytes (I-P3).
//! See: `reply.rs` for the one state machine, `packet.rs` for walking packets.

pub mod answer;
pub mod capabilities;
pub mod command;
pub mod compression;
pub mod dialogue;
pub mod greeting;
pub mod login;
pub mod packet;
pub mod proxy_header;
pub mod reply;
pub mod scramble;
pub mod seal;

#[cfg(test)]
pub(crate) mod tests;
