//! The PROXY protocol (versions 1 and 2) in front of a connection: who the client behind a load balancer is.
//!
//! Version 1: `PROXY TCP4 client server port port\r\n`, at most 107 bytes. Version 2: `12 bytes of signature | version and
//! command 1 | family 1 | length 2, big endian | addresses, then what nobody here needs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_MAX: usize = 107;
/// The longest header of version 2 that is taken.
const V2_MAX: usize = 16 + 4096;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// More bytes are needed.
    More,
    /// A whole header of so many bytes; the address where it names one, none for a balancer's own health check.
    Whole(usize, Option<SocketAddr>),
    /// Not a header.
    None,
}

/// Reads the header at the beginning of `bytes`.
pub fn read(bytes: &[u8]) -> Header {
    let signed = bytes.len().min(SIGNATURE.len());
    if bytes.get(..signed) == SIGNATURE.get(..signed) {
        return if signed < SIGNATURE.len() { Header::More } else { read_v2(bytes) };
    }
    let named = bytes.len().min(6);
    if bytes.get(..named) != b"PROXY ".get(..named) {
        return Header::None;
    }
    let line = bytes.get(..bytes.len().min(V1_MAX)).unwrap_or_default();
    match line.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => read_v1(line.get(..end).unwrap_or_default()).map_or(Header::None, |address| Header::Whole(end + 2, address)),
        None if bytes.len() >= V1_MAX => Header::None,
        None => Header::More,
    }
}

fn read_v1(line: &[u8]) -> Option<Option<SocketAddr>> {
    let mut words = std::str::from_utf8(line).ok()?.split(' ').skip(1);
    match words.next()? {
        "UNKNOWN" => Some(None),
        "TCP4" | "TCP6" => {
            let client: IpAddr = words.next()?.parse().ok()?;
            let _server: IpAddr = words.next()?.parse().ok()?;
            Some(Some(SocketAddr::new(client, words.next()?.parse().ok()?)))
        }
        _ => None,
    }
}

fn read_v2(bytes: &[u8]) -> Header {
    let (Some(version), Some(family), Some(length)) = (bytes.get(12), bytes.get(13), bytes.get(14..16)) else { return Header::More };
    let length = usize::from(length[0]) << 8 | usize::from(length[1]);
    let end = 16 + length;
    if version >> 4 != 2 || version & 15 > 1 || end > V2_MAX {
        return Header::None;
    }
    let Some(body) = bytes.get(16..end) else { return Header::More };
    if version & 15 == 0 {
        return Header::Whole(end, None);
    }
    let port = |at: usize| body.get(at..at + 2).map(|port| u16::from_be_bytes([port[0], port[1]]));
    let address = match family >> 4 {
        1 => body.first_chunk::<4>().map(|ip| IpAddr::from(Ipv4Addr::from(*ip))).zip(port(8)),
        2 => body.first_chunk::<16>().map(|ip| IpAddr::from(Ipv6Addr::from(*ip))).zip(port(32)),
        // A Unix socket, or nothing that has an address.
        _ => return Header::Whole(end, None),
    };
    address.map_or(Header::None, |(ip, port)| Header::Whole(end, Some(SocketAddr::new(ip, port))))
}

/// Networks such as `10.0.0.0/8, 192.0.2.7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u32)>);

impl Networks {
    /// Reads a list; the part that cannot be read is the error.
    ///
    /// # Errors
    /// The first entry that is no network.
    pub fn read(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let read = |entry: &str| {
            let (address, bits) = entry.split_once('/').map_or((entry, None), |(address, bits)| (address, Some(bits)));
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
            (bits <= most).then_some((address, bits))
        };
        entries.map(|entry| read(entry).ok_or_else(|| entry.to_owned())).collect::<Result<_, _>>().map(Self)
    }

    /// `true` where one of the networks has the address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let number = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
            IpAddr::V6(v6) => v6.to_bits(),
        };
        let address = address.to_canonical();
        self.0.iter().any(|(network, bits)| {
            let differing = number(address) ^ number(*network);
            address.is_ipv4() == network.is_ipv4() && differing.checked_shr(128 - bits).unwrap_or(0) == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    #[test]
    fn headers_of_both_versions_are_read_at_every_split() {
        let v4 = [192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x34, 0x0c, 0xea];
        let v6 = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0; 16], &[0, 80, 0, 1], b"more"].concat();
        let cases: [(Vec<u8>, Option<&str>); 6] = [
            (b"PROXY TCP4 192.0.2.7 127.0.0.1 4660 3306\r\n".to_vec(), Some("192.0.2.7:4660")),
            (b"PROXY TCP6 2001:db8::9 ::1 80 1\r\n".to_vec(), Some("[2001:db8::9]:80")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), Some("192.0.2.7:4660")),
            (v2(0x21, 0x21, &v6), Some("[2001:db8::9]:80")),
            (v2(0x20, 0, b""), None),
        ];
        for (bytes, address) in cases {
            let address = address.map(|address| address.parse().unwrap());
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Header::More, "{end} bytes of {bytes:?}");
            }
            assert_eq!(read(&bytes), Header::Whole(bytes.len(), address));
            assert_eq!(read(&[bytes.as_slice(), b"\x01\0\0"].concat()), Header::Whole(bytes.len(), address));
        }
    }

    #[test]
    fn what_is_no_header_is_told_at_once() {
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for bytes in [&b"GET /"[..], b"PROXY TCP4 nobody 127.0.0.1 1 2\r\n", &long, &v2(0x31, 0x11, b""), &v2(0x21, 0x11, b"abc")] {
            assert_eq!(read(bytes), Header::None, "{bytes:?}");
        }
    }

    #[test]
    fn networks_contain_their_addresses_only() {
        let networks = Networks::read("10.0.0.0/8, 192.0.2.7,2001:db8::/32").unwrap();
        for (address, is_in) in [
            ("10.9.8.7", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("::ffff:10.0.0.1", true),
        ] {
            assert_eq!(networks.contain(address.parse().unwrap()), is_in, "{address}");
        }
        assert!(Networks::read("0.0.0.0/0").unwrap().contain("1.2.3.4".parse().unwrap()));
        assert!(!Networks::read("").unwrap().contain("1.2.3.4".parse().unwrap()));
        assert_eq!(Networks::read("10.0.0.0/33"), Err("10.0.0.0/33".into()));
        assert_eq!(Networks::read("here"), Err("here".into()));
    }

    proptest! {
        #[test]
        fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for bytes in [bytes.clone(), [SIGNATURE, &bytes].concat(), [b"PROXY ".as_slice(), &bytes].concat()] {
                if let Header::Whole(length, _) = read(&bytes) {
                    prop_assert!(length <= bytes.len());
                }
            }
        }
    }
}
