//! One server with the proxy in front of it, for programs that are not Rust: `lab mysql|mariadb [SERVER OPTION]...`
//! writes one line of JSON when both answer, and ends both when its standard input closes.
#![allow(missing_docs, dead_code)]

#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use support::Kind;
use support::certificates::Authority;
use support::lab::Lab;
use support::servers::{APP, Settings};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let kind = match arguments.next().as_deref() {
        Some("mysql") => Kind::MySql,
        Some("mariadb") => Kind::MariaDb,
        other => bail!("the first argument is {other:?}, neither mysql nor mariadb"),
    };
    let settings = Settings { more: arguments.collect(), ..Settings::default() };
    tokio::runtime::Runtime::new()?.block_on(async {
        // As a direct connection has it: MySQL's server makes itself a certificate and offers TLS, MariaDB's does not.
        let authority = Authority::new("the lab's authority")?;
        let own = authority.sign("proxy", &["127.0.0.1", "localhost"])?;
        let tls = [
            ("TIDEGATE_LISTEN_TLS", "preferred"),
            ("TIDEGATE_LISTEN_TLS_CERT", own.cert.as_str()),
            ("TIDEGATE_LISTEN_TLS_KEY", own.key.as_str()),
            ("TIDEGATE_UPSTREAM_TLS", "preferred"),
        ];
        let lab = Lab::start_with(kind, settings, if kind == Kind::MySql { &tls } else { &[] }).await?;
        let mut out = std::io::stdout();
        writeln!(
            out,
            r#"{{"server_port": {}, "proxy_port": {}, "socket": "{}", "user": "{}", "password": "{}", "proxy_log": "{}"}}"#,
            lab.server.port,
            lab.proxy.port,
            lab.server.socket().display(),
            APP.0,
            APP.1,
            lab.proxy.log_file().display(),
        )?;
        out.flush()?;
        tokio::task::block_in_place(|| std::io::stdin().read_to_end(&mut Vec::new())).context("reading the standard input")?;
        Ok(())
    })
}
