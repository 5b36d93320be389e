#!/bin/sh
# Installs the SDKs that the client programs use: a Python venv and a node_modules, at the pinned versions, outside the
# tree. Prints the directory. Idempotent: a stamp holds the hash of the pins, so a change of them installs anew.
#   LLM_OBSERVER_CACHE   where (default ~/.cache/llm-observer)
#   PYTHON               which interpreter the venv is made with (default python3)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${LLM_OBSERVER_CACHE:-${HOME:-/root}/.cache/llm-observer}
dir=$cache/programs
python=${PYTHON:-python3}
mkdir -p "$dir"

say() { echo "programs: $*" >&2; }
fail() { say "$*"; exit 1; }

# The interpreter is part of the pin: compiled wheels fit one minor version.
pins=$( (cat "$here/requirements.txt"; "$python" --version) | sha256sum | cut -d' ' -f1)
if [ "$(cat "$dir/venv/.stamp" 2>/dev/null)" != "$pins" ]; then
  say "installing the Python SDKs (about half a minute)"
  rm -rf "$dir/venv"
  "$python" -m venv "$dir/venv" || fail "$python cannot make a venv: install python3-venv"
  "$dir/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" ||
    fail "pip could not install the pinned SDKs: is the package index reachable?"
  echo "$pins" > "$dir/venv/.stamp"
fi

pins=$(sha256sum < "$here/package-lock.json" | cut -d' ' -f1)
if [ "$(cat "$dir/node/.stamp" 2>/dev/null)" != "$pins" ]; then
  if command -v npm > /dev/null; then
    say "installing the Node SDKs (about ten seconds)"
    rm -rf "$dir/node" && mkdir -p "$dir/node"
    cp "$here/package.json" "$here/package-lock.json" "$dir/node/"
    (cd "$dir/node" && npm ci --no-audit --no-fund --loglevel=error >&2) ||
      fail "npm could not install the pinned SDKs: is the registry reachable?"
    echo "$pins" > "$dir/node/.stamp"
  else
    say "no npm: the Node programs cannot run (install nodejs and npm)"
  fi
fi
# Node resolves packages from the program's own directory upward, so the programs run from copies beside node_modules.
if [ -d "$dir/node" ]; then cp "$here"/*.mjs "$dir/node/"; fi
echo "$dir"
