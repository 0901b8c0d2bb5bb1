//! What operators say to the proxy.
