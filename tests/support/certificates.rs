//! Certificates for tests: an authority, what it signs, and what is wrong with some of it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use tempfile::TempDir;

/// An authority with a directory of its own; gone with it.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate and its key as files.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate in PEM.
    pub cert: String,
    /// Its key in PEM.
    pub key: String,
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

impl Authority {
    /// Makes one.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let dir = tempfile::Builder::new().prefix("tidegate-tls-").tempdir()?;
        // The server's account reads from here too.
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        std::fs::write(dir.path().join("ca.pem"), certificate.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), dir })
    }

    /// The authority's certificate.
    pub fn ca(&self) -> String {
        text(&self.dir.path().join("ca.pem"))
    }

    /// A file in the authority's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Signs a certificate for these names, valid for ever.
    pub fn sign(&self, file: &str, names: &[&str]) -> Result<Pair> {
        self.sign_until(file, names, 4000)
    }

    /// Signs a certificate that is valid until the beginning of a year.
    pub fn sign_until(&self, file: &str, names: &[&str], year: i32) -> Result<Pair> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, file);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let (cert, private) = (self.path(&format!("{file}.pem")), self.path(&format!("{file}-key.pem")));
        std::fs::write(&cert, certificate.pem())?;
        std::fs::write(&private, key.serialize_pem())?;
        Ok(Pair { cert: text(&cert), key: text(&private) })
    }
}
