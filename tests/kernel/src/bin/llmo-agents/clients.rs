//! The programs, and how each is run headless.

/// A program of the table.
pub(crate) struct RealClient {
    pub name: &'static str,
    pub version: &'static str,
    /// The TLS stack that its calls pass.
    pub stack: &'static str,
    /// It trusts the provider by the namespace's own bundle of authorities; else by a variable, for
    /// which Codex takes another stack.
    pub bundle: bool,
    /// `$S`: the provider; `$CA`: its authority; `$MODEL`; `$AGENTS`: the folder of the downloads; `$DIR`: a fresh one.
    pub script: &'static str,
}

/// Loopback, authority and provider.
pub(crate) const BEFORE: &str = r#"set -e
ip link set lo up
mkfifo hold
"$PROVIDER" --listen 127.0.0.1:18443 --dir "$DIR" --log "$DIR/log.json" <hold >provider.out 2>&1 &
exec 3>hold
while ! [ -s provider.out ]; do sleep 0.05; done
S=https://localhost:18443 CA=$DIR/ca.pem
if [ -n "$BUNDLE" ]; then
  cat /etc/ssl/certs/ca-certificates.crt "$CA" >bundle.crt
  mount --bind bundle.crt /etc/ssl/certs/ca-certificates.crt
fi
cat >fetch.js <<END
const answer = await fetch("$S/v1/chat/completions", {
  method: "POST", headers: { "content-type": "application/json" },
  body: JSON.stringify({ model: "$MODEL", stream: true, stream_options: { include_usage: true }, messages: [] }),
});
await answer.text();
END
BODY="{\"model\": \"$MODEL\", \"stream\": true, \"stream_options\": {\"include_usage\": true}, \"messages\": []}"
export S CA BODY
set +e
"#;

/// The provider writes its log down and ends.
pub(crate) const AFTER: &str = "exec 3>&-\nwait";

macro_rules! codex {
    ($settings:literal) => {
        concat!(
            $settings,
            "\n",
            r#"mkdir -p "$DIR/codex"
cat >"$DIR/codex/config.toml" <<END
model = "$MODEL"
model_provider = "lab"
check_for_update_on_startup = false
[analytics]
enabled = false
[otel]
exporter = "none"
[model_providers.lab]
name = "lab"
base_url = "$S/v1"
env_key = "LAB_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
supports_websockets = ${WEBSOCKETS:-false}
END
export CODEX_HOME=$DIR/codex LAB_KEY=x
"$AGENTS/openai-codex-$VERSION-linux-x64/package/vendor/x86_64-unknown-linux-musl/bin/codex" \
  exec --skip-git-repo-check -s read-only "say hi""#
        )
    };
}

const fn client(name: &'static str, version: &'static str, stack: &'static str, script: &'static str) -> RealClient {
    RealClient { name, version, stack, bundle: false, script }
}

impl RealClient {
    const fn by_bundle(mut self) -> Self {
        self.bundle = true;
        self
    }
}

macro_rules! claude {
    ($version:literal) => {
        client(concat!("claude-", $version), $version, "BoringSSL", concat!(
            "export ANTHROPIC_BASE_URL=$S ANTHROPIC_API_KEY=sk-ant-dummy NODE_EXTRA_CA_CERTS=$CA CLAUDE_CONFIG_DIR=$DIR/.claude\n",
            "export DISABLE_AUTOUPDATER=1 DISABLE_TELEMETRY=1 DISABLE_ERROR_REPORTING=1\n",
            "export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1\n",
            "\"$AGENTS/anthropic-ai-claude-code-linux-x64-", $version, "/package/claude\" -p 'say hi' --model \"$MODEL\" --output-format text"
        ))
    };
}

macro_rules! bun {
    ($version:literal) => {
        client(
            concat!("bun-", $version),
            $version,
            "BoringSSL",
            concat!(
                "export NODE_EXTRA_CA_CERTS=$CA\n\"$AGENTS/oven-bun-linux-x64-",
                $version,
                "/package/bin/bun\" run fetch.js"
            ),
        )
    };
}

/// All of them.
pub(crate) const CLIENTS: &[RealClient] = &[
    client(
        "wget",
        "system",
        "GnuTLS",
        "wget -q -O /dev/null --no-config --ca-certificate=$CA --header='content-type: application/json' --post-data=\"$BODY\" $S/v1/chat/completions",
    ),
    claude!("2.1.332"),
    claude!("2.1.113"),
    client("codex-openssl", "0.171.0", "OpenSSL static", codex!("VERSION=0.171.0")).by_bundle(),
    client("codex-openssl-old", "0.142.5", "OpenSSL static", codex!("VERSION=0.142.5")).by_bundle(),
    client("codex-rustls", "0.171.0", "rustls", codex!("VERSION=0.171.0; export SSL_CERT_FILE=$CA")),
    client("codex-websocket", "0.171.0", "rustls", codex!("VERSION=0.171.0 WEBSOCKETS=true")).by_bundle(),
    client(
        "opencode",
        "1.18.33",
        "BoringSSL",
        r#"export NODE_EXTRA_CA_CERTS=$CA OPENCODE_DISABLE_AUTOUPDATE=1 OPENCODE_DISABLE_MODELS_FETCH=1
export OPENCODE_DISABLE_LSP_DOWNLOAD=1 OPENCODE_DISABLE_DEFAULT_PLUGINS=1 XDG_CONFIG_HOME=$DIR/c XDG_DATA_HOME=$DIR/d
cat >opencode.json <<END
{"autoupdate": false, "share": "disabled", "model": "lab/lab-model", "small_model": "lab/lab-model", "provider": {"lab": {
  "npm": "@ai-sdk/openai-compatible", "options": {"baseURL": "$S/v1", "apiKey": "x"}, "models": {"lab-model": {"id": "$MODEL"}}}}}
END
"$AGENTS/opencode-linux-x64-1.18.33/package/bin/opencode" run "say hi""#,
    ),
    client(
        "copilot",
        "1.0.102",
        "OpenSSL in addon",
        r#"export COPILOT_OFFLINE=true COPILOT_PROVIDER_BASE_URL=$S/v1 COPILOT_PROVIDER_API_KEY=x COPILOT_MODEL=$MODEL
export COPILOT_AUTO_UPDATE=false
"$AGENTS/github-copilot-linux-x64-1.0.102/package/copilot" -p "say hi" --allow-all-tools"#,
    )
    .by_bundle(),
    bun!("1.4.5"),
    bun!("1.1.30"),
    client(
        "deno",
        "2.9.6",
        "rustls",
        r#"export DENO_CERT=$CA DENO_NO_UPDATE_CHECK=1 DENO_DIR=$DIR/deno
"$AGENTS/deno-linux-x64-glibc-2.9.6/package/deno" run -A fetch.js"#,
    ),
    client(
        "curl_cffi",
        "0.17.0",
        "BoringSSL",
        r#"PYTHONPATH=$(ls -d "$AGENTS"/wheels/curl_cffi-*64) python3 -c '
import os, curl_cffi.requests as r
r.post(os.environ["S"] + "/v1/chat/completions", data=os.environ["BODY"], verify=os.environ["CA"], impersonate="chrome",
  headers={"content-type": "application/json"})'"#,
    ),
    client(
        "rnet",
        "2.4.2",
        "BoringSSL",
        r#"PYTHONPATH=$(ls -d "$AGENTS"/wheels/rnet-*64) python3 -c '
import os, json, rnet
c = rnet.BlockingClient(verify=os.environ["CA"])
c.post(os.environ["S"] + "/v1/chat/completions", json=json.loads(os.environ["BODY"])).text()'"#,
    ),
    client(
        "primp",
        "2.0.1",
        "rustls",
        r#"PYTHONPATH=$(ls -d "$AGENTS"/wheels/primp-*64) python3 -c '
import os, json, primp
c = primp.Client(ca_cert_file=os.environ["CA"])
c.post(os.environ["S"] + "/v1/chat/completions", json=json.loads(os.environ["BODY"])).text'"#,
    ),
];
