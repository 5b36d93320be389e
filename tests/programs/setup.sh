#!/bin/sh
# Installs the SDKs that the client programs use: a Python venv and a node_modules, at the pinned versions, outside the
# tree. Prints the directory. Idempotent: every set of pins has a directory of its own, so trees with other pins do not
# take each other's programs away.
#   LLM_OBSERVER_CACHE   where (default ~/.cache/llm-observer)
#   PYTHON               which interpreter the venv is made with (default python3)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${LLM_OBSERVER_CACHE:-${HOME:-/root}/.cache/llm-observer}
python=${PYTHON:-python3}
# The interpreter is part of the pin: compiled wheels fit one minor version.
pins=$( (cat "$here/requirements.txt" "$here/package-lock.json"; "$python" --version) | sha256sum | cut -c1-12)
dir=$cache/programs/$pins
mkdir -p "$dir"

say() { echo "programs: $*" >&2; }
fail() { say "$*"; exit 1; }

# Tests call this too, several at a time.
exec 9> "$dir/.lock"
if command -v flock > /dev/null; then flock 9; fi

if [ ! -e "$dir/venv/.stamp" ]; then
  say "installing the Python SDKs (about a minute)"
  rm -rf "$dir/venv"
  "$python" -m venv "$dir/venv" || fail "$python cannot make a venv: install python3-venv"
  "$dir/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" ||
    fail "pip could not install the pinned SDKs: is the package index reachable?"
  touch "$dir/venv/.stamp"
fi

if [ ! -e "$dir/node/.stamp" ]; then
  if command -v npm > /dev/null; then
    say "installing the Node SDKs (about ten seconds)"
    rm -rf "$dir/node" && mkdir -p "$dir/node"
    cp "$here/package.json" "$here/package-lock.json" "$dir/node/"
    (cd "$dir/node" && npm ci --no-audit --no-fund --loglevel=error >&2) ||
      fail "npm could not install the pinned SDKs: is the registry reachable?"
    touch "$dir/node/.stamp"
  else
    say "no npm: the Node programs cannot run (install nodejs and npm)"
  fi
fi
# Node resolves packages from the program's own directory upward, so the programs run from copies beside node_modules;
# each is replaced whole, since another test may be starting it.
if [ -d "$dir/node" ]; then
  for program in "$here"/*.mjs; do
    copy=$dir/node/$(basename "$program")
    cmp -s "$program" "$copy" || { cp "$program" "$copy.$$" && mv "$copy.$$" "$copy"; }
  done
fi
echo "$dir"
