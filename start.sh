#!/usr/bin/env bash
# One command to serve: reads .env, checks that Kafka (and Redis, if named) can be reached, then runs `fleetcast serve`.
#
#   ./start.sh [--wait SECONDS] [--check]
#
# --wait   how long to wait for Kafka and Redis (default 30)
# --check  only check, start nothing
# What is set in the environment wins over .env. FLEETCAST_… names count like the plain ones, and win.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf 'start: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

patience=30 # seconds
check_only=false
while (($# > 0)); do
  case "$1" in
    --wait)
      patience="${2:-}"
      [[ $patience =~ ^[0-9]+$ ]] || die "--wait takes a number of seconds"
      shift 2
      ;;
    --check)
      check_only=true
      shift
      ;;
    -h | --help)
      sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *) die "unknown argument \"$1\"; --help tells" ;;
  esac
done

# Read as docker does: NAME=value, the value as it stands. Nothing in it is run.
if [[ -f .env ]]; then
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line =~ ^([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]] || continue
    name=${BASH_REMATCH[1]}
    [[ -v $name ]] || export "$name=${BASH_REMATCH[2]}"
  done <.env
else
  say "no .env here: only the environment counts (.env.example shows what can be set)"
fi

kafka="${FLEETCAST_KAFKA_BOOTSTRAP_SERVERS:-${KAFKA_BOOTSTRAP_SERVERS:-}}"
redis="${FLEETCAST_REDIS_URL:-${REDIS_URL:-}}"
[[ -n $kafka ]] || die "KAFKA_BOOTSTRAP_SERVERS is not set"

reachable() { # host port
  # shellcheck disable=SC2016 # expanded by the inner shell
  timeout 3 bash -c 'exec 3<>"/dev/tcp/$1/$2"' reachable "$1" "$2" 2>/dev/null
}

split() { # host:port, [v6]:port; sets host and port, the default port is $2
  if [[ $1 =~ ^\[(.+)\](:([0-9]+))?$ ]]; then
    host=${BASH_REMATCH[1]} port=${BASH_REMATCH[3]:-$2}
  else
    host=${1%%:*} port=$2
    if [[ $1 == *:* ]]; then port=${1##*:}; fi
  fi
}

kafka_answers() { # one broker is enough: it knows the others
  local server servers
  IFS=, read -ra servers <<<"${kafka// /}"
  for server in "${servers[@]}"; do
    split "${server##*://}" 9092
    if reachable "$host" "$port"; then return 0; fi
  done
  return 1
}

# The address without user and password: those are nobody's business here.
redis_address=${redis#*://}
redis_address=${redis_address%%[/?]*}
redis_address=${redis_address##*@}
redis_answers() {
  split "$redis_address" 6379
  reachable "$host" "$port"
}

wait_for() { # what, address, command
  local deadline=$((SECONDS + patience))
  until "$3"; do
    ((SECONDS < deadline)) || die "$1 cannot be reached at $2 (waited $patience s)"
    sleep 1
  done
  say "$1 can be reached at $2"
}

wait_for Kafka "$kafka" kafka_answers
if [[ -n $redis ]]; then wait_for Redis "$redis_address" redis_answers; fi
if $check_only; then exit 0; fi

binary=target/release/fleetcast
if [[ ! -x $binary ]]; then
  say "building"
  make --no-print-directory build
fi
exec "$binary" serve
