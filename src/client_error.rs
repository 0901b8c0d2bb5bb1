//! The complete list of what the proxy itself may say to a client.
