//! PROXY headers: read byte by byte as from the beginning, bounded, and never more than the header; lists of networks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::wire::proxy_header::{Header, Networks, read};

fuzz_target!(|data: &[u8]| {
    let mut ended = None;
    for length in 0..=data.len().min(5000) {
        match (read(&data[..length]), ended) {
            (Header::More, None) => assert!(length < 5000, "a header without an end"),
            (Header::More, Some(_)) => panic!("more is wanted behind the end"),
            (Header::Whole(size, address), None) => {
                assert_eq!(size, length, "bytes behind the header were waited for");
                ended = Some(Header::Whole(size, address));
            }
            (now, None) => ended = Some(now),
            (now, Some(before)) => assert_eq!(now, before, "it is read otherwise with more bytes"),
        }
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(networks) = Networks::read(text)
    {
        for address in ["10.0.0.1", "::1", "::ffff:192.0.2.7", "255.255.255.255"] {
            let _ = networks.contain(address.parse().expect("an address"));
        }
    }
});
