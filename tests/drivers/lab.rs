//! One server with the proxy in front of it, for programs that are not Rust: `lab mysql|mariadb [SERVER OPTION]...`
//! writes one line of JSON when both answer, and ends both when its standard input closes. `--std-data=DIR` names certificates
//! for the server and the proxy.
#![allow(missing_docs, dead_code)]

#[path = "../support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use support::Kind;
use support::certificates::{Authority, Pair};
use support::lab::Lab;
use support::servers::{APP, Settings};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let kind = match arguments.next().as_deref() {
        Some("mysql") => Kind::MySql,
        Some("mariadb") => Kind::MariaDb,
        other => bail!("the first argument is {other:?}, neither mysql nor mariadb"),
    };
    let mut more: Vec<String> = arguments.collect();
    tokio::runtime::Runtime::new()?.block_on(async {
        // The server offers TLS, and the proxy on both of its sides: with the server's own certificate where it was given one.
        let authority = Authority::new("the lab's authority")?;
        let place = more.iter().position(|option| option.starts_with("--std-data="));
        let pair = match place.map(|place| more.remove(place)) {
            // The suites of the servers come with certificates that their results know. The server's account may not read them there.
            Some(option) => {
                for name in ["cacert.pem", "server-cert.pem", "server-key.pem"] {
                    std::fs::copy(Path::new(option.trim_start_matches("--std-data=")).join(name), authority.path(name))?;
                }
                let file = |name| authority.path(name).display().to_string();
                more.push(format!("--ssl-ca={}", file("cacert.pem")));
                Pair { cert: file("server-cert.pem"), key: file("server-key.pem") }
            }
            None => {
                more.push(format!("--ssl-ca={}", authority.ca()));
                authority.sign("lab", &["127.0.0.1", "localhost"])?
            }
        };
        more.extend([format!("--ssl-cert={}", pair.cert), format!("--ssl-key={}", pair.key)]);
        let tls = [
            ("TIDEGATE_LISTEN_TLS", "preferred"),
            ("TIDEGATE_LISTEN_TLS_CERT", pair.cert.as_str()),
            ("TIDEGATE_LISTEN_TLS_KEY", pair.key.as_str()),
            ("TIDEGATE_UPSTREAM_TLS", "preferred"),
        ];
        let lab = Lab::start_with(kind, Settings { more, ..Settings::default() }, &tls).await?;
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
