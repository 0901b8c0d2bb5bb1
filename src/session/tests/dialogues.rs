//! Logins by plugins that the proxy does not know: whatever they say to each other passes, packet by packet.

use super::*;

/// What the server says, and what the client answers to it; none where the server goes on.
type Script = [(&'static [u8], Option<&'static [u8]>)];

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

/// Lets a server of one login speak from a script, and a client answer; both must hear each other's bytes and numbers.
async fn spoken(script: &'static Script) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = upstream.local_addr().unwrap().to_string();
    let house = House::with(|config| config.upstream.address = address).await;
    let server = tokio::spawn(async move {
        let mut channel = Channel::new(upstream.accept().await.unwrap().0);
        channel.send_payload(&Greeting::own(7, SALT, 0)).await.unwrap();
        channel.packet().await.unwrap();
        for (said, answer) in script {
            channel.send_payload(said).await.unwrap();
            if let Some(answer) = answer {
                let expected = channel.next;
                let packet = channel.packet().await.unwrap();
                assert_eq!((packet.payload(), packet.sequence), (*answer, expected), "what the server hears");
            }
        }
        channel
    });
    let mut client = house.dial().await;
    client.packet().await.unwrap();
    login(&mut client, "app", b"anything").await;
    client.next = 2;
    for (said, answer) in script {
        let expected = client.next;
        let packet = client.packet().await.unwrap();
        assert_eq!((packet.payload(), packet.sequence), (*said, expected), "what the client hears");
        if let Some(answer) = answer {
            client.send_payload(answer).await.unwrap();
        }
    }
    let mut server = server.await.unwrap();
    // The session goes on, unless it was refused.
    if script.last().is_some_and(|(said, _)| *said == OK) {
        client.next = 0;
        client.send_payload(b"\x03SELECT 1").await.unwrap();
        assert_eq!(server.packet().await.unwrap().payload(), b"\x03SELECT 1");
    }
}

#[tokio::test]
async fn a_password_in_the_clear_reaches_the_server() {
    spoken(&[(b"\xfemysql_clear_password\0", Some(b"hush-hush\0")), (OK, None)]).await;
    spoken(&[(b"\xfemysql_clear_password\0", Some(b"\0")), (b"\xff\x15\x04#28000Access denied", None)]).await;
}

#[tokio::test]
async fn a_dialogue_of_questions_is_carried() {
    // As PAM asks them: echoed, hidden, and a last one; the server also speaks twice in a row.
    spoken(&[
        (b"\xfedialog\0\x04Password: ", Some(b"hush\0")),
        (b"\x02Which token? ", Some(b"\0\0\0")),
        (b"\x05One more: ", Some(&[0xff, 0xfe, 0xfb, 0])),
        (b"\x01\x03", None),
        (OK, None),
    ])
    .await;
}

#[tokio::test]
async fn parsec_and_further_factors_are_carried() {
    spoken(&[
        (b"\xfeparsec\0abcdefghijklmnopqrstuvwxyz012345\0", Some(b"")),
        (b"P\x04salt of eighteen b", Some(&[7; 96])),
        // The next factor of several, by another plugin, and one more.
        (b"\x02caching_sha2_password\0abcdefghijklmnopqrst\0", Some(&[9; 32])),
        (b"\x01\x03", None),
        (b"\x02authentication_webauthn_client\0challenge", Some(&[1, 2, 3])),
        (OK, None),
    ])
    .await;
}

#[tokio::test]
async fn sha256_password_seals_with_the_key_of_the_server_where_no_side_is_secure() {
    spoken(&[
        (b"\xfesha256_password\0abcdefghijklmnopqrst\0", Some(&[1])),
        (b"\x01-----BEGIN PUBLIC KEY-----\n", Some(&[8; 256])),
        (OK, None),
    ])
    .await;
}
