#!/usr/bin/env bash
# Prints the folder that cargo builds into: target, unless CARGO_TARGET_DIR or a cargo configuration says otherwise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -n ${CARGO_TARGET_DIR:-} ]]; then
  folder=$CARGO_TARGET_DIR
else
  # A machine that only runs what was built elsewhere has no cargo.
  folder=$(cargo metadata --no-deps --offline --format-version 1 2>/dev/null |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p' || true)
fi
folder=${folder:-target}
printf '%s\n' "${folder#"$PWD"/}"
