#!/usr/bin/env bash
# Everything that is tested, cheap and likely failures first.
#
#   scripts/test.sh         all of it
#   scripts/test.sh fast    without what needs Java (real Kafka)
#   scripts/test.sh kafka   only that: integration tests and real clients on real Kafka
#
# The step that comes last ends with its runner's own summary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

make=(make --no-print-directory)
target=$(scripts/target.sh)
step() { # what, command...
  printf '\n== %s (after %d s)\n' "$1" "$SECONDS" >&2
  shift
  "$@"
}

part="${1:-all}"
[[ $part =~ ^(all|fast|kafka)$ ]] || {
  printf 'test: unknown part "%s": fast, kafka, or nothing for everything\n' "$part" >&2
  exit 2
}

# Real Kafka needs Java and Maven; nothing else does.
needs=all
if [[ $part == fast ]]; then needs=fast; fi
step "what is missing" scripts/setup.sh "$needs"
if [[ $part != kafka ]]; then
  step "lints, documentation, dependencies" "${make[@]}" check
  step "unit and integration tests" cargo test --workspace --locked --quiet
fi
step "release build" "${make[@]}" build
if [[ $part != kafka ]]; then
  step "README.md and start.sh, as written" "${make[@]}" readme-test
  step "the QA page in a browser" "${make[@]}" browser-test
  step "real clients, embedded broker" "${make[@]}" client-tests
  step "lost polling answers" "${make[@]}" poll-losses CLIENTS="js python"
  if [[ $part == fast ]]; then
    step "clients under load, cut at random bytes" "${make[@]}" lane-clients CLIENTS="js python"
    step "clients behind haproxy and nginx" "${make[@]}" balancer-tests CLIENTS="js python"
  fi
fi
[[ $part == fast ]] && exit
if [[ $part != kafka ]]; then
  step "lost polling answers, Java" "${make[@]}" poll-losses CLIENTS=java
  step "clients under load, cut at random bytes" "${make[@]}" lane-clients
  step "clients behind haproxy and nginx" "${make[@]}" balancer-tests
fi

# One broker for both: its jars are fetched once, then cached.
step "fetch Apache Kafka" scripts/kafka.sh fetch
# shellcheck disable=SC2016 # expanded by the inner shell
step "integration tests and real clients, Apache Kafka" scripts/kafka.sh run --secure bash -euc '
  cargo test --workspace --locked --quiet -- --ignored
  make --no-print-directory client-tests
  "$1" bench --check
  "$1" control --short --case publish,publish-kill' - "$target/release/loadgen"

# After those, because it wants the machine for itself.
# shellcheck disable=SC2016 # expanded by the inner shell
step "no seeded bugs in the release" bash -c '! grep -aq SEEDED_BUG "$1"' - "$target/release/fleetcast"
step "faults, short form" "$target/release/loadgen" chaos --jobs 3 \
  --scenario cuts --scenario kill --scenario rolling --scenario kafka --scenario slow --scenario redis
