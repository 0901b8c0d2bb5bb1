//! What the real-server tests, the demo and the benches share: private servers, the proxy as a process,
//! an admin client, an application to be migrated under, and the judges of what it left behind.
//!
//! Owns: processes and temporary directories; all of them end with the value that stands for them, and with this
//! process whatever becomes of it. Never: skips a test because something is missing.

pub mod admin;
pub mod certificates;
pub mod compare;
pub mod disk;
pub mod environment;
pub mod failpoints;
pub mod lab;
pub mod load;
pub mod metrics;
pub mod packed;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod relay;
pub mod replica;
pub mod servers;
pub mod writers;

// Not every program that takes this module in needs every name.
#[allow(unused_imports)]
pub use admin::Admin;
#[allow(unused_imports)]
pub use lab::Lab;
#[allow(unused_imports)]
pub use proxy::Proxy;
#[allow(unused_imports)]
pub use servers::{Kind, Server};
