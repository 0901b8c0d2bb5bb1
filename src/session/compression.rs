//! Which compression each side of a session gets; docs/configuration.md tells it to operators.

use crate::config::Config;
use crate::wire::capabilities::{COMPRESS, ZSTD};
use crate::wire::compression::{Algorithm, ZSTD_LEVEL};
use crate::wire::login::Response;

/// The flags of compression that a client is offered, by a server that can do this.
pub(super) fn offered(config: &Config, server: u64) -> u64 {
    match config.listen.compression.as_str() {
        "off" => 0,
        "on" => COMPRESS | ZSTD,
        _ => server & (COMPRESS | ZSTD),
    }
}

/// What the client has chosen of that.
pub(super) fn with_client(response: &Response, offered: u64) -> Option<Algorithm> {
    Algorithm::agreed(response.capabilities & offered, response.zstd_level)
}

/// What the server is asked for.
pub(super) fn with_server(config: &Config, server: u64, client: Option<Algorithm>) -> Option<Algorithm> {
    let level = if let Some(Algorithm::Zstd { level }) = client { level } else { ZSTD_LEVEL };
    let wanted = match config.upstream.compression.as_str() {
        "off" => None,
        "zlib" => Some(Algorithm::Zlib),
        "zstd" => Some(Algorithm::Zstd { level }),
        _ => client,
    };
    wanted.filter(|algorithm| server & algorithm.flag() != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_gets_what_the_settings_and_the_peers_say() {
        let (zlib, zstd) = (Some(Algorithm::Zlib), Some(Algorithm::Zstd { level: 9 }));
        let usual = Some(Algorithm::Zstd { level: ZSTD_LEVEL });
        let mut config = Config::default();
        assert_eq!(offered(&config, COMPRESS | 1), COMPRESS);
        for (upstream, server, client, wanted) in [
            ("auto", COMPRESS | ZSTD, None, None),
            ("auto", COMPRESS | ZSTD, zlib, zlib),
            ("auto", COMPRESS | ZSTD, zstd, zstd),
            ("auto", COMPRESS, zstd, None),
            ("off", COMPRESS | ZSTD, zlib, None),
            ("zlib", COMPRESS | ZSTD, None, zlib),
            ("zlib", ZSTD, zlib, None),
            ("zstd", ZSTD, None, usual),
            ("zstd", ZSTD, zlib, usual),
            ("zstd", ZSTD, zstd, zstd),
            ("zstd", COMPRESS, zstd, None),
        ] {
            config.upstream.compression = upstream.into();
            assert_eq!(with_server(&config, server, client), wanted, "{upstream}, {client:?}");
        }
        config.listen.compression = "off".into();
        assert_eq!(offered(&config, COMPRESS | ZSTD), 0);
        config.listen.compression = "on".into();
        assert_eq!(offered(&config, 0), COMPRESS | ZSTD);
    }
}
