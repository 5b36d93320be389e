//! The provider's own certificate authority, written out so that clients can be told to trust it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Makes an authority and a certificate for `localhost` and the loopback addresses (and for `names`); writes
/// `dir/ca.pem`, `dir/server.pem` and `dir/server.key`.
///
/// # Errors
/// If a key cannot be made or the file cannot be written.
pub(crate) fn make(dir: &Path, names: &[String]) -> Result<(PathBuf, Arc<ServerConfig>)> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name.push(DnType::CommonName, "llm-observer test authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_cert = ca.self_signed(&ca_key)?;

    let mut subjects = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    subjects.extend_from_slice(names);
    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(subjects)?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.use_authority_key_identifier_extension = true;
    let cert = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key))?;

    for (name, pem) in [("ca.pem", ca_cert.pem()), ("server.pem", cert.pem()), ("server.key", key.serialize_pem())] {
        fs::write(dir.join(name), pem).with_context(|| format!("cannot write {name} to {}", dir.display()))?;
    }
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((dir.join("ca.pem"), Arc::new(config)))
}
