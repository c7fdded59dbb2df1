#!/usr/bin/env bash
# Installs what a bare Debian 12 with Rust, Node 20, Python 3.11 and Java 17 lacks; quick when nothing is missing.
#
#   scripts/setup.sh          everything that `make test` needs
#   scripts/setup.sh fast     without what only tests on real Kafka need (`make test-fast`)
#   scripts/setup.sh build    what a build needs, no more (`make demo`)
#
# Packages are installed only when absent, as root or through sudo. What has to be there already is named if it is not.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# cargo builds librdkafka from source, which links OpenSSL and zlib; the cryptography of tokens comes with its own source.
build=(gcc g++ make pkg-config zlib1g-dev libssl-dev python3)
full=("${build[@]}" curl git haproxy redis-server shellcheck openssl)

part="${1:-all}"
case "$part" in
  build) wanted=("${build[@]}") ;;
  fast | all) wanted=("${full[@]}" chromium) ;;
  *) die "unknown part \"$1\": fast, build, or nothing for everything" ;;
esac
if [[ $part != build ]]; then
  # For scripts/python.sh. A python3 from elsewhere has it already.
  python3 -c 'import ensurepip, venv' 2>/dev/null || wanted+=(python3-venv)
  # The smallest package of several that bring the command.
  command -v nginx >/dev/null || wanted+=(nginx-light)
fi
if [[ $part == all ]]; then
  # By command, for these may well have come by another way than Debian's packages.
  command -v mvn >/dev/null || wanted+=(maven)
  command -v javac >/dev/null || wanted+=(openjdk-17-jdk-headless)
fi

command -v cargo >/dev/null || die "Rust is missing: install it with rustup; rust-toolchain.toml names the version"
if [[ $part != build ]]; then
  node=$(node --version 2>/dev/null || true)
  node=${node#v}
  [[ ${node%%.*} -ge 20 ]] 2>/dev/null || die "Node.js 20 or later is missing (found: ${node:-none})"
  command -v npm >/dev/null || die "npm is missing"
fi

missing=()
for package in "${wanted[@]}"; do
  # A tool that is there serves, whatever package it is from; of libraries only the package tells.
  command -v "$package" >/dev/null && continue
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

command -v apt-get >/dev/null || die "no apt-get here: install these, or what your system calls them: ${missing[*]}"
as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || die "run as root, or install these: ${missing[*]}"
  as_root=(sudo)
fi

services=()
for package in "${missing[@]}"; do
  case "$package" in
    haproxy | redis-server) services+=("$package") ;;
    nginx-light) services+=(nginx) ;;
  esac
done
# Debian starts a service when it is installed, and at each boot. The tests start their own, on free ports, so what they
# need must not stay behind as running servers. If the machine has such a policy already, its administrator's counts.
policy=/usr/sbin/policy-rc.d
no_services=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/no-services.sh
if ((${#services[@]} > 0)) && "${as_root[@]}" ln -s "$no_services" "$policy" 2>/dev/null; then
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi

say "installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
for service in "${services[@]}"; do
  "${as_root[@]}" update-rc.d "$service" disable
done
