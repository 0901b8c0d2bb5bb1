//! Compression on either side, on both, on none, with another algorithm on each: the packets inside are those of a direct
//! connection, and every number of a packet and of a frame is one that a strict client takes (tests/support/packed.rs).

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;

use super::{BULK, EXECUTE, LONG_DATA, Pair, QUERY, bulk, execute, small_commands, statements, tables, texts};
use crate::support::lab::Lab;
use crate::support::packed::{COMPRESS, ZSTD};
use crate::support::raw::{BASE, DEPRECATE_EOF, LOCAL_FILES, MARIADB, Raw, SESSION_TRACK, framed};
use crate::support::servers::APP;
use crate::support::{Kind, Proxy};

on_both_servers!(
    every_command_is_the_same_with_compression_on_either_side,
    frames_that_lie_end_one_session_with_an_error,
    an_idle_session_is_told_inside_a_frame,
);

/// Settings of both sides, and what the client may then ask for.
const WAYS: [(&str, &str, &[u64]); 6] = [
    ("auto", "auto", &[0, COMPRESS, ZSTD]),
    ("on", "off", &[0, COMPRESS, ZSTD]),
    ("off", "zlib", &[0]),
    ("off", "zstd", &[0]),
    ("on", "zlib", &[COMPRESS, ZSTD]),
    ("on", "zstd", &[COMPRESS, ZSTD]),
];

/// What the server can do itself.
fn can(kind: Kind, flag: u64) -> bool {
    kind == Kind::MySql || flag != ZSTD
}

fn settings<'a>(listen: &'a str, upstream: &'a str) -> [(&'static str, &'a str); 2] {
    [("TIDEGATE_LISTEN_COMPRESSION", listen), ("TIDEGATE_UPSTREAM_COMPRESSION", upstream)]
}

async fn every_command_is_the_same_with_compression_on_either_side(kind: Kind) -> Result<()> {
    let lab = Lab::start(kind).await?;
    tables(&lab).await?;
    let own = if kind == Kind::MariaDb { (BASE & !1) | MARIADB } else { BASE };
    for (listen, upstream, flags) in WAYS {
        let proxy = Proxy::start(&lab.server.address(), &settings(listen, upstream)).await?;
        for flag in flags.iter().copied().filter(|flag| listen == "on" || can(kind, *flag)) {
            let pieces: &[(u64, usize)] = if listen == "auto" {
                &[(own, usize::MAX), (own | DEPRECATE_EOF | SESSION_TRACK, 1000), (own, 1)]
            } else {
                &[(own | DEPRECATE_EOF | SESSION_TRACK, usize::MAX)]
            };
            for (capabilities, piece) in pieces.iter().copied() {
                let directly = if can(kind, flag) { capabilities | flag } else { capabilities } | LOCAL_FILES;
                let capabilities = capabilities | flag | LOCAL_FILES;
                let mut pair = Pair::between(&lab, directly, proxy.port, capabilities, piece).await?;
                let what = || format!("[listen] {listen}, [upstream] {upstream}, capabilities {capabilities:#x}, pieces of {piece}");
                talk(kind, &mut pair, capabilities, piece).await.with_context(what)?;
                pair.end().await.with_context(what)?;
            }
        }
        proxy.assert_clean_log(&[])?;
    }
    Ok(())
}

async fn talk(kind: Kind, pair: &mut Pair, capabilities: u64, piece: usize) -> Result<()> {
    texts(pair).await?;
    // More packets than there are numbers, and more bytes than one frame of the proxy's holds.
    pair.query("SELECT id, REPEAT('r', 300) FROM shop.orders ORDER BY id; SELECT 2; SELECT id FROM shop.orders ORDER BY id").await?;
    files(pair).await?;
    if piece == 1 {
        return Ok(());
    }
    pair.query(&format!("SELECT LENGTH('{}'), REPEAT('w', 200000)", "v".repeat(200_000))).await?;
    statements(pair, capabilities).await?;
    small_commands(pair).await?;
    if kind == Kind::MariaDb {
        bulk(pair).await?;
        ensure!(pair.command(BULK, &[0xff; 4]).await?.len() > 4);
    }
    pipelined(pair).await?;
    pair.command(0x1f, b"").await?;
    pair.query("SELECT @a").await?;
    change_user(pair).await
}

async fn files(pair: &mut Pair) -> Result<()> {
    pair.query("CREATE TEMPORARY TABLE shop.mine (a INT, b VARCHAR(300))").await?;
    let load = "LOAD DATA LOCAL INFILE 'rows.tsv' INTO TABLE shop.mine";
    for text in [load.to_owned(), format!("SELECT 1; SELECT 2; {load}; SELECT COUNT(*), SUM(a) FROM shop.mine; {load}")] {
        let mut asked = pair.query(&text).await?;
        while asked.len() > 5 && asked.windows(2).any(|part| part == [0xfb, b'r']) {
            let mut sequence = super::dialogues::next(&asked)?;
            let mut sent = Vec::new();
            // Past the last number, so that it comes to 0 in the middle of a file.
            for row in 0..300 {
                sent.extend(framed(sequence, format!("{row}\t{}\n", "f".repeat(row % 90)).as_bytes()));
                sequence = sequence.wrapping_add(1);
            }
            sent.extend(framed(sequence, b""));
            asked = pair.bytes(&sent, "a file").await?;
        }
    }
    pair.query("SELECT SUM(a), SUM(LENGTH(b)) FROM shop.mine").await?;
    pair.query("DROP TEMPORARY TABLE shop.mine").await?;
    Ok(())
}

async fn pipelined(pair: &mut Pair) -> Result<()> {
    let id = pair.prepare("SELECT ?, 5").await?;
    let mut segment = Vec::new();
    for number in 0..60 {
        segment.extend(pair.direct.command(QUERY, format!("SELECT {number}, REPEAT('z', {}); SELECT 1", number * 300).as_bytes()));
        if number % 10 == 0 {
            segment.extend(pair.direct.command(QUERY, b"SELEKT"));
            segment.extend(pair.direct.command(LONG_DATA, &[&id[..], &[0, 0], &[b'l'; 9000]].concat()));
            segment.extend(pair.direct.command(EXECUTE, &[&id[..], &execute(0, &[0, 1, 252, 0])].concat()));
            segment.extend(pair.direct.command(0x0e, b""));
        }
    }
    pair.bytes(&segment, "commands in one write").await?;
    Ok(())
}

/// With a password that is wrong and one that is right; the salts differ, so only the outcome is compared.
async fn change_user(pair: &mut Pair) -> Result<()> {
    for raw in [&mut pair.direct, &mut pair.proxied] {
        let plugin = b"mysql_clear_password".as_slice();
        raw.send(0x11, &[APP.0.as_bytes(), b"\0\0shop\0", &[45, 0], plugin, b"\0"].concat()).await?;
        loop {
            let (sequence, payload) = raw.packet().await?;
            match payload.as_slice() {
                [0, ..] => break,
                [1, 3] => {}
                [0xfe, rest @ ..] => {
                    let end = rest.iter().position(|byte| *byte == 0).context("no plugin")?;
                    let proof = crate::support::raw::proof(&rest[..end], rest.get(end + 1..end + 21).context("no salt")?, APP.1)?;
                    raw.write(&framed(sequence + 1, &proof)).await?;
                }
                other => bail!("the change of user ended with {:?}", String::from_utf8_lossy(other)),
            }
        }
    }
    pair.align().await?;
    pair.query("SELECT CURRENT_USER(), DATABASE(), @a").await?;
    pair.query("SELECT 1; SELECT 2").await?;
    Ok(())
}

async fn frames_that_lie_end_one_session_with_an_error(kind: Kind) -> Result<()> {
    let lab = Lab::start_with(kind, Default::default(), &settings("on", "auto")).await?;
    let mut other = lab.proxy.connect().await?;
    let bomb = {
        // A command of a megabyte in a frame that says it were 16.
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &[&[0xfe, 0xff, 0xff, 0, QUERY][..], &vec![0; 1 << 20]].concat())?;
        let packed = encoder.finish()?;
        [&packed.len().to_le_bytes()[..3], &[0, 0xff, 0xff, 0xff], &packed].concat()
    };
    let window = [9, 0, 0, 0, 100, 0, 0, 0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00];
    let cases: [(u64, &[u8]); 5] = [
        (COMPRESS, &[4, 0, 0, 0, 100, 0, 0, 9, 9, 9, 9]),
        (ZSTD, &[4, 0, 0, 0, 100, 0, 0, 9, 9, 9, 9]),
        (COMPRESS, &[0, 0, 0, 0, 100, 0, 0]),
        (COMPRESS, &bomb),
        (ZSTD, &window),
    ];
    let before = lab.proxy.memory_kib();
    lab.proxy.forget_peak()?;
    for (flag, bytes) in cases {
        let mut raw = Raw::login(lab.proxy.port, APP, BASE | flag, usize::MAX).await?;
        raw.send(QUERY, b"SELECT 1").await?;
        raw.until_quiet().await?;
        raw.begin_command();
        raw.write_raw(bytes).await?;
        let (_, packet) = raw.packet().await?;
        ensure!(packet.starts_with(&[0xff, 0x85, 0x04]), "{}", String::from_utf8_lossy(&packet));
        ensure!(raw.is_closed().await, "the session goes on");
    }
    let grown = lab.proxy.peak_memory_kib().saturating_sub(before);
    ensure!(grown < 4096, "the proxy grew by {grown} KiB");
    other.query_drop("SELECT 1").await?;
    lab.proxy.assert_clean_log(&["not_unpacked"])
}

async fn an_idle_session_is_told_inside_a_frame(kind: Kind) -> Result<()> {
    let more = [settings("on", "auto").as_slice(), &[("TIDEGATE_LISTEN_IDLE_TIMEOUT_S", "1")]].concat();
    let lab = Lab::start_with(kind, Default::default(), &more).await?;
    for flag in [COMPRESS, ZSTD] {
        let mut raw = Raw::login(lab.proxy.port, APP, BASE | flag, usize::MAX).await?;
        raw.send(QUERY, b"SELECT 1").await?;
        raw.until_quiet().await?;
        raw.expect_unasked();
        let (sequence, packet) = raw.packet().await?;
        ensure!(sequence == 0 && packet.starts_with(&[0xff, 0xbf, 0x0f]), "{sequence}: {}", String::from_utf8_lossy(&packet));
        ensure!(raw.is_closed().await, "the session goes on");
    }
    lab.proxy.assert_clean_log(&[])
}
