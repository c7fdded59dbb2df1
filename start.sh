#!/usr/bin/env bash
# One command to serve: reads .env, waits until Kafka can be reached, builds if there is no binary yet, then runs
# `fleetcast serve`. `make run` does the same and builds what has changed.
#
#   ./start.sh [--wait SECONDS] [--check]
#
# --wait   how long to wait for Kafka (default 30)
# --check  only check, start nothing
# Ends as the server does; with 1 if Kafka cannot be reached, 2 for wrong usage, 78 for wrong settings.
# What is set in the environment wins over .env. FLEETCAST_… names count like the plain ones, and win. Brokers that only the
# file behind FLEETCAST_CONFIG names are not waited for: the server itself goes on trying. Redis that cannot be reached is a
# warning: this version does not use it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf 'start: %s\n' "$*" >&2; }
die() { # exit code, what is wrong
  say "${*:2}"
  exit "$1"
}

wait_seconds=30 # seconds
check_only=false
while (($# > 0)); do
  case "$1" in
    --wait)
      wait_seconds="${2:-}"
      [[ $wait_seconds =~ ^[0-9]+$ ]] || die 2 "--wait takes a number of seconds"
      shift 2
      ;;
    --check)
      check_only=true
      shift
      ;;
    -h | --help)
      sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *) die 2 "unknown argument \"$1\"; --help tells" ;;
  esac
done

# Read as docker does: NAME=value, the value as it stands. Nothing in it is run.
if [[ -f .env ]]; then
  number=0
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    if [[ ! $line =~ ^([A-Za-z_][A-Za-z0-9_]*)=(.*)$ ]]; then
      # Its text is not shown: it may be a secret.
      [[ $line =~ ^[[:space:]]*(#|$) ]] || say "warning: line $number of .env is ignored: expected NAME=value"
      continue
    fi
    name=${BASH_REMATCH[1]}
    value=${BASH_REMATCH[2]%$'\r'} # written on Windows
    if [[ $value =~ ^\".*\"$ || $value =~ ^\'.*\'$ ]]; then
      say "warning: the quotes around $name in .env are part of its value"
    fi
    [[ -v $name ]] || export "$name=$value"
  done <.env
else
  say "no .env here: only the environment counts (.env.example shows what can be set)"
fi

kafka="${FLEETCAST_KAFKA_BOOTSTRAP_SERVERS:-${KAFKA_BOOTSTRAP_SERVERS:-}}"
redis="${FLEETCAST_REDIS_URL:-${REDIS_URL:-}}"
config="${FLEETCAST_CONFIG:-}"
[[ -n $kafka || -n $config ]] || die 78 "neither KAFKA_BOOTSTRAP_SERVERS nor FLEETCAST_CONFIG is set"
[[ -z $config || -r $config ]] || die 78 "cannot read FLEETCAST_CONFIG=$config"

[[ $kafka != *\;* ]] || die 78 "cannot use KAFKA_BOOTSTRAP_SERVERS=$kafka: brokers are separated by commas"

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
    [[ -n $server ]] || continue
    split "${server##*://}" 9092
    if reachable "$host" "$port"; then return 0; fi
  done
  return 1
}

# The address without user and password: they are not for the log.
redis_address=${redis#*://}
redis_address=${redis_address%%[/?]*}
redis_address=${redis_address##*@}
redis_answers() {
  split "$redis_address" 6379
  reachable "$host" "$port"
}

if [[ -n $kafka ]]; then
  deadline=$((SECONDS + wait_seconds))
  until kafka_answers; do
    ((SECONDS < deadline)) || die 1 "Kafka cannot be reached at $kafka (waited $wait_seconds s)"
    sleep 1
  done
  say "Kafka can be reached at $kafka"
else
  say "brokers as in $config: not waited for"
fi
if [[ -n $redis ]] && ! redis_answers; then
  say "warning: Redis cannot be reached at $redis_address (the server does not use it in this version)"
fi
if $check_only; then exit 0; fi

binary="$(scripts/target.sh)/release/fleetcast"
if [[ ! -x $binary ]]; then
  say "building"
  make --no-print-directory build
fi
exec "$binary" serve
