//! `--web.config.file`: the YAML of Prometheus' exporter-toolkit, so that the file of one exporter serves another.
//! What we cannot honour is refused: a security setting must never be skipped in silence.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;

use crate::config::{ConfigError, read_yaml};

/// Headers that the toolkit lets an operator set.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

/// What is wrong with the file or what it names.
#[derive(Debug, thiserror::Error)]
pub enum WebConfigError {
    #[error(transparent)]
    File(#[from] ConfigError),
    #[error("{path}: {key} {problem}")]
    Key { path: PathBuf, key: &'static str, problem: String },
}

/// The file as typed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Typed {
    tls_server_config: Option<TypedTls>,
    http_server_config: TypedHttp,
    basic_auth_users: BTreeMap<String, String>,
    auth_excluded_paths: Vec<String>,
    rate_limit: Option<TypedRateLimit>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TypedTls {
    cert_file: String,
    key_file: String,
    client_auth_type: String,
    client_ca_file: String,
    client_allowed_sans: Vec<String>,
    min_version: String,
    max_version: String,
    cipher_suites: Vec<String>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TypedHttp {
    /// We speak HTTP/1.1 only, which every client of `http2: true` falls back to.
    http2: Option<bool>,
    headers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TypedRateLimit {
    interval: String,
    burst: u32,
}

/// The file as meant.
#[derive(Clone, Default)]
pub struct WebConfig {
    pub tls: Option<Arc<ServerConfig>>,
    /// User → bcrypt hash. Empty: nobody is asked.
    pub users: BTreeMap<String, String>,
    /// Paths for which nobody is asked either.
    pub open_paths: Vec<String>,
    pub headers: Vec<(String, String)>,
}

impl WebConfig {
    /// Reads the file and everything it names.
    pub fn read(path: &Path) -> Result<WebConfig, WebConfigError> {
        let typed: Typed = read_yaml(path)?;
        let fault = |key, problem: &str| WebConfigError::Key { path: path.into(), key, problem: problem.to_owned() };
        let _ = typed.http_server_config.http2;
        if let Some(limit) = &typed.rate_limit {
            let _ = (&limit.interval, limit.burst);
            return Err(fault("rate_limit", "is not supported: remove it, connections are bounded anyway"));
        }
        if let Some(name) = typed.http_server_config.headers.keys().find(|name| !HEADERS.contains(&name.as_str())) {
            return Err(fault(
                "http_server_config.headers",
                &format!("may not set {name:?}, only {}", HEADERS.join(", ")),
            ));
        }
        for (user, hash) in &typed.basic_auth_users {
            if hash.parse::<bcrypt::HashParts>().is_err() {
                return Err(fault(
                    "basic_auth_users",
                    &format!("of {user:?} is no bcrypt hash: make one with `htpasswd -nBC 10 {user}`"),
                ));
            }
        }
        let tls = typed.tls_server_config.map(|tls| tls.server(path)).transpose()?;
        let headers = typed.http_server_config.headers.into_iter().collect();
        Ok(WebConfig { tls, users: typed.basic_auth_users, open_paths: typed.auth_excluded_paths, headers })
    }

    /// Whether this very path needs no password.
    #[must_use]
    pub fn open_to_all(&self, path: &str) -> bool {
        self.open_paths.iter().any(|open| open == path)
    }
}

impl TypedTls {
    fn server(&self, path: &Path) -> Result<Arc<ServerConfig>, WebConfigError> {
        let fault = |key, problem: String| WebConfigError::Key { path: path.into(), key, problem };
        self.refuse_unsupported(&fault)?;
        let versions = self.versions(&fault)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| fault("tls_server_config.min_version", error.to_string()))?;
        let builder = match self.verifier(path, &fault)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let chain =
            certificates(&beside(path, &self.cert_file)).map_err(|e| fault("tls_server_config.cert_file", e))?;
        let key = private_key(&beside(path, &self.key_file)).map_err(|e| fault("tls_server_config.key_file", e))?;
        let config =
            builder.with_single_cert(chain, key).map_err(|error| fault("tls_server_config", error.to_string()))?;
        Ok(Arc::new(config))
    }

    fn refuse_unsupported(&self, fault: &dyn Fn(&'static str, String) -> WebConfigError) -> Result<(), WebConfigError> {
        let unsupported = [
            ("tls_server_config.client_allowed_sans", !self.client_allowed_sans.is_empty()),
            ("tls_server_config.cipher_suites", !self.cipher_suites.is_empty()),
            ("tls_server_config.curve_preferences", !self.curve_preferences.is_empty()),
            ("tls_server_config.prefer_server_cipher_suites", self.prefer_server_cipher_suites == Some(false)),
        ];
        match unsupported.into_iter().find(|(_, set)| *set) {
            Some((key, _)) => {
                Err(fault(key, "is not supported: remove it, the safe defaults of rustls are used".into()))
            }
            None => Ok(()),
        }
    }

    fn versions(
        &self,
        fault: &dyn Fn(&'static str, String) -> WebConfigError,
    ) -> Result<Vec<&'static SupportedProtocolVersion>, WebConfigError> {
        let rank = |key, text: &str, default| match text {
            "" => Ok(default),
            "TLS12" => Ok(2),
            "TLS13" => Ok(3),
            other => Err(fault(key, format!("is {other:?}: TLS12 and TLS13 are supported"))),
        };
        let least = rank("tls_server_config.min_version", &self.min_version, 2)?;
        let most = rank("tls_server_config.max_version", &self.max_version, 3)?;
        let all = [(2, &rustls::version::TLS12), (3, &rustls::version::TLS13)];
        Ok(all.into_iter().filter(|(rank, _)| (least..=most).contains(rank)).map(|(_, version)| version).collect())
    }

    fn verifier(
        &self,
        path: &Path,
        fault: &dyn Fn(&'static str, String) -> WebConfigError,
    ) -> Result<Option<Arc<dyn rustls::server::danger::ClientCertVerifier>>, WebConfigError> {
        let optional = match self.client_auth_type.as_str() {
            "" | "NoClientCert" if self.client_ca_file.is_empty() => return Ok(None),
            "VerifyClientCertIfGiven" => true,
            "RequireAndVerifyClientCert" => false,
            other => {
                let problem = format!(
                    "is {other:?}: NoClientCert (without client_ca_file), VerifyClientCertIfGiven and RequireAndVerifyClientCert are supported"
                );
                return Err(fault("tls_server_config.client_auth_type", problem));
            }
        };
        let ca = |problem| fault("tls_server_config.client_ca_file", problem);
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&beside(path, &self.client_ca_file)).map_err(ca)? {
            roots.add(certificate).map_err(|error| ca(error.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = if optional { builder.allow_unauthenticated() } else { builder };
        builder.build().map(Some).map_err(|error| ca(error.to_string()))
    }
}

/// Paths in the file are relative to the file.
fn beside(config: &Path, file: &str) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(file)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(path)?).collect();
    let chain = chain.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if chain.is_empty() {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&bytes(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => format!("{} holds no private key", path.display()),
        error => format!("{} cannot be read: {error}", path.display()),
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{} cannot be opened: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<WebConfig, String> {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("c.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("k.pem"), made.signing_key.serialize_pem()).unwrap();
        let file = dir.path().join("web.yml");
        std::fs::write(&file, text).unwrap();
        WebConfig::read(&file).map_err(|error| error.to_string())
    }

    const TLS: &str = "tls_server_config: {cert_file: c.pem, key_file: k.pem";

    #[test]
    fn what_the_toolkit_knows_is_read() {
        assert!(read("").unwrap().tls.is_none());
        assert!(read(&format!("{TLS}, min_version: TLS13}}")).unwrap().tls.is_some());
        let checked = format!("{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: c.pem}}");
        assert!(read(&checked).unwrap().tls.is_some());
        let headers = read("http_server_config: {http2: true, headers: {X-Frame-Options: deny}}").unwrap().headers;
        assert_eq!(headers, [("X-Frame-Options".to_owned(), "deny".to_owned())]);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for (text, part) in [
            ("tls_config: {}".to_owned(), "did you mean `tls_server_config`?"),
            (format!("{TLS}, cipher_suites: [X]}}"), "tls_server_config.cipher_suites is not supported"),
            (format!("{TLS}, client_allowed_sans: [x]}}"), "client_allowed_sans is not supported"),
            (format!("{TLS}, min_version: TLS10}}"), "TLS12 and TLS13 are supported"),
            (format!("{TLS}, min_version: TLS13, max_version: TLS12}}"), "min_version"),
            (format!("{TLS}, client_auth_type: RequireAnyClientCert}}"), "client_auth_type"),
            (format!("{TLS}, client_ca_file: c.pem}}"), "client_auth_type"),
            ("tls_server_config: {cert_file: none.pem, key_file: k.pem}".to_owned(), "cannot be opened"),
            ("tls_server_config: {cert_file: k.pem, key_file: k.pem}".to_owned(), "holds no certificate"),
            ("tls_server_config: {cert_file: c.pem, key_file: c.pem}".to_owned(), "holds no private key"),
            ("basic_auth_users: {u: plaintext}".to_owned(), "is no bcrypt hash"),
            ("http_server_config: {headers: {X-Other: a}}".to_owned(), "may not set \"X-Other\""),
            ("rate_limit: {interval: 1s, burst: 1}".to_owned(), "rate_limit is not supported"),
        ] {
            let error = read(&text).err().unwrap_or_else(|| panic!("accepted: {text}"));
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
