//! Asks an OpenAI-like API for streams, over a TLS that its environment chooses.
//!
//! `BASE_URL`, `SSL_CERT_FILE`; `CRYPTO` is `ring` or `aws-lc`, `TLS` 1.2 or 1.3, `SUITE` part of a
//! suite's name, `HTTP` 1 or 2, `PARALLEL` how many calls at once, `PROMPT` bytes of a prompt.
//! Arguments are models. Says what the other clients say: a line when a call begins and ends.

use std::sync::Arc;

use futures_util::StreamExt;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn roots() -> Result<RootCertStore, Failure> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(setting("SSL_CERT_FILE", "ca.pem"))? {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

fn tls() -> Result<ClientConfig, Failure> {
    let mut provider: CryptoProvider = match setting("CRYPTO", "ring").as_str() {
        "aws-lc" => rustls::crypto::aws_lc_rs::default_provider(),
        _ => rustls::crypto::ring::default_provider(),
    };
    let suite = setting("SUITE", "");
    provider.cipher_suites.retain(|one| format!("{:?}", one.suite()).contains(&suite));
    let versions: &[&'static SupportedProtocolVersion] = match setting("TLS", "1.3").as_str() {
        "1.2" => &[&rustls::version::TLS12],
        _ => &[&rustls::version::TLS13],
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(versions)?;
    let mut config = config.with_root_certificates(roots()?).with_no_client_auth();
    let protocol: &[u8] = if setting("HTTP", "1") == "2" { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

async fn ask(client: reqwest::Client, model: String) -> Result<usize, Failure> {
    let prompt = "word ".repeat(number("PROMPT", 100) / 5);
    let body = serde_json::json!({
        "model": model, "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": prompt}],
    });
    println!("{}", serde_json::json!({"begin": model, "pid": std::process::id()}));
    let url = format!("{}/v1/chat/completions", setting("BASE_URL", "https://localhost"));
    let request = client.post(url).header("authorization", "Bearer x").header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await?;
    let (mut bytes, mut stream) = (0, answer.bytes_stream());
    while let Some(piece) = stream.next().await {
        bytes += piece?.len();
    }
    Ok(bytes)
}

async fn all(models: Vec<String>) -> Result<(), Failure> {
    let client = reqwest::Client::builder().use_preconfigured_tls(tls()?).no_proxy().build()?;
    let calls = models.into_iter().map(|model| {
        let (client, name) = (client.clone(), model.clone());
        async move {
            let (bytes, error) = match ask(client, model).await {
                Ok(bytes) => (bytes, None),
                Err(error) => (0, Some(format!("{error:?}"))),
            };
            println!("{}", serde_json::json!({"end": name, "bytes": bytes, "error": error}));
        }
    });
    futures_util::stream::iter(calls)
        .map(tokio::spawn)
        .buffer_unordered(number("PARALLEL", 1))
        .for_each(|_| async {})
        .await;
    Ok(())
}

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if std::env::var("CLIENT_GO").is_ok() {
        println!("{}", serde_json::json!({"ready": true, "pid": std::process::id()}));
        std::io::stdin().read_line(&mut String::new())?;
    }
    runtime.block_on(all(std::env::args().skip(1).collect()))
}
