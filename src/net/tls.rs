//! TLS to clients and to the server: certificates from files, what is verified, and errors in words that help.
//!
//! Owns: the certificates, until they are loaded anew. Never: shows a key.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ProtocolVersion, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::{Ahead, Stream};

/// How much one side insists on TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// None.
    Off,
    /// Where the peer can; nothing is verified.
    Preferred,
    /// Always; nothing is verified.
    Required,
    /// Always, and the server's certificate must be signed by the given authority.
    VerifyCa,
    /// As [`Mode::VerifyCa`], and it must be for the host name that was dialled.
    VerifyIdentity,
}

impl Mode {
    /// The words of the settings.
    pub fn read(word: &str) -> Option<Self> {
        Some(match word {
            "off" => Self::Off,
            "preferred" => Self::Preferred,
            "required" => Self::Required,
            "verify-ca" => Self::VerifyCa,
            "verify-identity" => Self::VerifyIdentity,
            _ => return None,
        })
    }

    /// `true` where nothing may go without TLS.
    pub fn is_required(self) -> bool {
        !matches!(self, Self::Off | Self::Preferred)
    }
}

/// Files that cannot be used, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[{section}] {key}: {file}: {reason}; {remedy}")]
pub struct Unusable {
    section: &'static str,
    key: &'static str,
    file: String,
    reason: String,
    remedy: &'static str,
}

impl Unusable {
    /// For a file of the same kind that is read elsewhere.
    pub fn new(section: &'static str, key: &'static str, file: &str, reason: &str, remedy: &'static str) -> Self {
        Self { section, key, file: file.to_owned(), reason: reason.to_owned(), remedy }
    }
}

/// The files of one side; empty where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// `listen` or `upstream`, for errors.
    pub section: &'static str,
    /// The certificate chain, own first.
    pub cert: &'a str,
    /// Its private key.
    pub key: &'a str,
    /// The authorities that sign the peers' certificates.
    pub ca: &'a str,
}

impl Files<'_> {
    fn wrong(&self, key: &'static str, file: &str, reason: impl ToString, remedy: &'static str) -> Unusable {
        Unusable { section: self.section, key, file: file.to_owned(), reason: reason.to_string(), remedy }
    }

    fn certificates(&self, key: &'static str, file: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
        let wrong = |reason: String| self.wrong(key, file, reason, "give a PEM file of certificates that the proxy's account can read");
        let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(Path::new(file)).map_err(|error| wrong(words(&error)))?.collect();
        let found = found.map_err(|error| wrong(words(&error)))?;
        if found.is_empty() { Err(wrong("holds no certificate".into())) } else { Ok(found) }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, Unusable> {
        PrivateKeyDer::from_pem_file(Path::new(self.key)).map_err(|error| {
            self.wrong(
                "tls_key",
                self.key,
                words(&error),
                "give a PEM file with one private key, not encrypted, that the proxy's account can read",
            )
        })
    }

    fn authorities(&self) -> Result<Arc<RootCertStore>, Unusable> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates("tls_ca", self.ca)? {
            roots
                .add(certificate)
                .map_err(|error| self.wrong("tls_ca", self.ca, error, "give the certificates of the authorities, in PEM"))?;
        }
        Ok(Arc::new(roots))
    }
}

fn words(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(error) => format!("cannot be read ({error})"),
        Error::NoItemsFound => "holds nothing of the kind".into(),
        other => format!("is not PEM ({other})"),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// TLS towards clients.
#[derive(Clone)]
pub struct Front {
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Front {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Front")
    }
}

impl Front {
    /// Loads the proxy's own certificate. With authorities given, clients must show a certificate that one of them signed.
    ///
    /// # Errors
    /// [`Unusable`] names the file and the remedy.
    pub fn load(files: Files<'_>) -> Result<Self, Unusable> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| files.wrong("tls", "", error, "this is a mistake of the program; report it"))?;
        let builder = if files.ca.is_empty() {
            builder.with_no_client_auth()
        } else {
            let verifier = WebPkiClientVerifier::builder_with_provider(files.authorities()?, provider())
                .build()
                .map_err(|error| files.wrong("tls_ca", files.ca, error, "give the certificates of the authorities, in PEM"))?;
            builder.with_client_cert_verifier(verifier)
        };
        let config = builder
            .with_single_cert(files.certificates("tls_cert", files.cert)?, files.private_key()?)
            .map_err(|error| files.wrong("tls_key", files.key, error, "give the key that belongs to the certificate of tls_cert"))?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Shakes hands with a client that asked for TLS; `ahead` is what was read behind its wish.
    ///
    /// # Errors
    /// What is wrong with the client's TLS or its certificate.
    pub async fn accept(&self, stream: &mut Stream, ahead: BytesMut) -> io::Result<()> {
        let socket = stream.take_plain().ok_or(io::ErrorKind::NotConnected)?;
        let inside = self.acceptor.accept(Ahead::new(socket, ahead)).await?;
        *stream = Stream::Tls(Box::new(TlsStream::Server(inside)));
        Ok(())
    }
}

/// TLS towards the server.
#[derive(Clone)]
pub struct Back {
    /// How much is asked for.
    pub mode: Mode,
    connector: TlsConnector,
    /// For sessions whose client speaks TLS 1.2.
    connector_1_2: TlsConnector,
}

impl std::fmt::Debug for Back {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Back({:?})", self.mode)
    }
}

impl Back {
    /// Loads the authorities that the server's certificate is verified with, and the certificate that it is shown.
    ///
    /// # Errors
    /// [`Unusable`] names the file and the remedy.
    pub fn load(mode: Mode, files: Files<'_>) -> Result<Self, Unusable> {
        let connector = Self::connector(mode, &files, rustls::DEFAULT_VERSIONS)?;
        Ok(Self { mode, connector, connector_1_2: Self::connector(mode, &files, &[&rustls::version::TLS12])? })
    }

    fn connector(mode: Mode, files: &Files<'_>, versions: &[&'static SupportedProtocolVersion]) -> Result<TlsConnector, Unusable> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| files.wrong("tls", "", error, "this is a mistake of the program; report it"))?;
        let inner = match mode {
            Mode::VerifyCa | Mode::VerifyIdentity => Some(
                WebPkiServerVerifier::builder_with_provider(files.authorities()?, provider())
                    .build()
                    .map_err(|error| files.wrong("tls_ca", files.ca, error, "give the certificates of the authorities, in PEM"))?,
            ),
            _ => None,
        };
        let verifier = Verifier { inner, looks_at_name: mode == Mode::VerifyIdentity, provider: provider() };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let config = if files.cert.is_empty() || mode == Mode::Off {
            builder.with_no_client_auth()
        } else {
            builder
                .with_client_auth_cert(files.certificates("tls_cert", files.cert)?, files.private_key()?)
                .map_err(|error| files.wrong("tls_key", files.key, error, "give the key that belongs to the certificate of tls_cert"))?
        };
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// Shakes hands with the server, which is known by the name `host`; in TLS 1.2 where the client could do no better or wanted no better,
    /// so that it finds in `Ssl_version` what it would find directly.
    ///
    /// # Errors
    /// What is wrong with the server's TLS or certificate; [`explain`] puts it in words.
    pub async fn connect(&self, stream: &mut Stream, host: &str, version: Option<ProtocolVersion>) -> io::Result<()> {
        let connector = if version == Some(ProtocolVersion::TLSv1_2) { &self.connector_1_2 } else { &self.connector };
        let socket = stream.take_plain().ok_or(io::ErrorKind::NotConnected)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::other(format!("{host} is no name that a certificate can be for")))?;
        let inside = connector.connect(name, Ahead::new(socket, BytesMut::new())).await?;
        *stream = Stream::Tls(Box::new(TlsStream::Client(inside)));
        Ok(())
    }
}

/// Looks at the server's certificate as far as the mode wants it. The proof that the server has the key to it is always asked for.
#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    looks_at_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::Error::InvalidCertificate;
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(certificate, between, name, ocsp, now) {
            // The name is looked at last: everything else was right.
            Err(InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }))
                if !self.looks_at_name =>
            {
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A failed handshake with the server in one sentence: what is wrong, and what to do.
pub fn explain(error: &io::Error) -> String {
    use rustls::Error::InvalidCertificate;
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(InvalidCertificate(wrong)) => explain_certificate(wrong),
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("the server broke off TLS ({alert:?}); if it asks for a client certificate, give it as [upstream] tls_cert and tls_key")
        }
        Some(other) => format!("TLS failed ({other}); see that the server speaks TLS 1.2 or 1.3"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed in the middle of TLS; see its error log, and that it speaks TLS 1.2 or 1.3".into()
        }
        None => format!("TLS failed ({error}); see the server's error log"),
    }
}

fn explain_certificate(wrong: &CertificateError) -> String {
    use CertificateError as E;
    match wrong {
        E::Expired | E::ExpiredContext { .. } => "the server's certificate has expired; renew it on the server".into(),
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet; see that both clocks are right, or wait for its date".into()
        }
        // Authorities may share a name, as those that MySQL makes by itself do: then the signature is what does not fit.
        E::UnknownIssuer | E::BadSignature => {
            "the server's certificate is not signed by an authority of [upstream] tls_ca; give the certificate of the one that signed it"
                .into()
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => {
            let names = match wrong {
                E::NotValidForNameContext { presented, .. } if !presented.is_empty() => format!(" (it is for {})", presented.join(", ")),
                E::NotValidForNameContext { .. } => " (it has no subjectAltName)".to_owned(),
                _ => String::new(),
            };
            format!(
                "the server's certificate is not for the host of [upstream] address{names}; use a name that it is for, or [upstream] tls = \"verify-ca\""
            )
        }
        E::Revoked => "the server's certificate was revoked; renew it on the server".into(),
        other => format!("the server's certificate cannot be accepted ({other}); renew it on the server"),
    }
}

#[cfg(test)]
mod tests;
