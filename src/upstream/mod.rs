//! The engine's own connections to the server.
