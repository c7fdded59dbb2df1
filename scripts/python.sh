#!/usr/bin/env bash
# The stock Python client for tests: .cache/python is a virtual environment with client-tests/python/requirements.txt.
# Quick when it is there already; made again when the requirements or this script have changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

requirements=client-tests/python/requirements.txt
folder=.cache/python
stamp="$folder/made-from"

made_from() { cat "$requirements" scripts/python.sh; }

if [[ -x $folder/bin/python ]] && cmp -s "$stamp" <(made_from); then exit 0; fi

# A python3 of another origin may come without what makes environments; Debian's has it from python3-venv.
python=
for candidate in python3 /usr/bin/python3; do
  if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [[ -z $python ]]; then
  printf 'python: python3 with venv is missing: scripts/setup.sh installs it\n' >&2
  exit 1
fi

rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$requirements"
made_from >"$stamp"
