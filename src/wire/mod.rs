//! The MySQL protocol: bytes in, values out. Pure.
