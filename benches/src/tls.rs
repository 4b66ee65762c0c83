//! The certificate of the mocks that are reached with TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// The roots that a system trusts, on Debian and on Amazon Linux. They are added to the mocks' certificate, so that a
/// function has as many to read as on Lambda.
const SYSTEM_ROOTS: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// A certificate for the loopback address, and the file of the roots that trust it. The file is deleted when this is
/// dropped.
pub struct Certificate {
    acceptor: TlsAcceptor,
    folder: TempDir,
}

impl Certificate {
    /// A new certificate.
    ///
    /// # Errors
    /// If it can't be made, or its file can't be written.
    pub fn new() -> Result<Self> {
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der());
        let key = key.ok().context("the certificate's key")?;
        let certificates = vec![certified.cert.der().clone()];
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates, key)?;
        let folder = tempfile::tempdir()?;
        let mut roots = certified.cert.pem();
        for path in SYSTEM_ROOTS {
            if Path::new(path).exists() {
                roots.push_str(&std::fs::read_to_string(path)?);
                break;
            }
        }
        std::fs::write(folder.path().join("roots.pem"), roots)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            folder,
        })
    }

    /// The acceptor of a server.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// The file for a function's `SSL_CERT_FILE`.
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }
}
