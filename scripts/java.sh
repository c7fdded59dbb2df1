#!/usr/bin/env bash
# The stock Java client for tests: .cache/java-client has its jars, and client-tests/java/src compiled against them.
# Quick when it is there already; made again when the sources have changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=.cache/java-client
stamp="$folder/made-from"

made_from() { cat client-tests/java/pom.xml client-tests/java/src/*.java scripts/java.sh; }

if cmp -s "$stamp" <(made_from); then exit 0; fi
for tool in mvn javac; do
  command -v "$tool" >/dev/null || {
    printf 'java: %s is missing: scripts/setup.sh installs it\n' "$tool" >&2
    exit 1
  }
done

rm -rf "$folder"
mkdir -p "$folder"
mvn -q -B -ntp -f client-tests/java/pom.xml dependency:copy-dependencies -DoutputDirectory="$PWD/$folder" >&2
mkdir "$folder/classes"
javac -cp "$folder/*" -d "$folder/classes" client-tests/java/src/*.java
made_from >"$stamp"
