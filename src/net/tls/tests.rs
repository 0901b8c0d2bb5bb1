//! Handshakes in memory: what each mode takes, and what is said where it does not.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::*;

struct Paper {
    folder: TempDir,
}

impl Paper {
    /// An authority, a certificate for `name` that it signed, and a stranger's.
    fn new(name: &str, year: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issue = |file: &str| {
            let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            std::fs::write(folder.path().join(file), params.self_signed(&key).unwrap().pem()).unwrap();
            Issuer::new(params, key)
        };
        let issuer = issue("ca.pem");
        issue("stranger.pem");
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        std::fs::write(folder.path().join("cert.pem"), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).display().to_string()
    }

    async fn shake(&self, mode: Mode, ca: &str) -> io::Result<()> {
        let (cert, key, ca) = (self.path("cert.pem"), self.path("key.pem"), self.path(ca));
        let front = Front::load(Files { section: "listen", cert: &cert, key: &key, ca: "" }).unwrap();
        let back = Back::load(mode, Files { section: "upstream", cert: "", key: "", ca: &ca }).unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let (mut near, mut far) = (Stream::Plain(near.into()), Stream::Plain(far.into()));
        let (accepted, connected) = tokio::join!(front.accept(&mut far, BytesMut::new()), back.connect(&mut near, "db.example.com", None));
        connected?;
        accepted?;
        near.write_all(b"hello").await?;
        near.flush().await?;
        let mut heard = [0; 5];
        far.read_exact(&mut heard).await?;
        assert_eq!(&heard, b"hello");
        assert!(near.is_tls() && far.is_secure());
        Ok(())
    }

    async fn says(&self, mode: Mode, ca: &str) -> String {
        explain(&self.shake(mode, ca).await.unwrap_err())
    }
}

#[tokio::test]
async fn each_mode_takes_what_it_must_and_says_what_is_wrong() {
    let good = Paper::new("db.example.com", 4000);
    for mode in [Mode::Preferred, Mode::Required, Mode::VerifyCa, Mode::VerifyIdentity] {
        good.shake(mode, "ca.pem").await.unwrap();
    }
    good.shake(Mode::Required, "stranger.pem").await.unwrap();
    assert!(good.says(Mode::VerifyCa, "stranger.pem").await.contains("not signed by an authority"));
    let other = Paper::new("other.example.com", 4000);
    other.shake(Mode::VerifyCa, "ca.pem").await.unwrap();
    assert!(other.says(Mode::VerifyIdentity, "ca.pem").await.contains("other.example.com"));
    let expired = Paper::new("db.example.com", 2020);
    expired.shake(Mode::Required, "ca.pem").await.unwrap();
    assert!(expired.says(Mode::VerifyCa, "ca.pem").await.contains("has expired"));
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_key() {
    let paper = Paper::new("x", 4000);
    let (cert, key, none) = (paper.path("cert.pem"), paper.path("key.pem"), paper.path("none.pem"));
    let load = |cert: &str, key: &str, ca: &str| Front::load(Files { section: "listen", cert, key, ca }).unwrap_err().to_string();
    for (words, error) in [
        ("[listen] tls_cert", load(&none, &key, "")),
        ("[listen] tls_cert", load(&key, &key, "")),
        ("[listen] tls_key", load(&cert, &none, "")),
        ("[listen] tls_key", load(&cert, &cert, "")),
        ("[listen] tls_ca", load(&cert, &key, &none)),
    ] {
        assert!(error.starts_with(words), "{error}");
    }
    let foreign = Paper::new("y", 4000).path("key.pem");
    assert!(load(&cert, &foreign, "").contains("[listen] tls_key"));
}
