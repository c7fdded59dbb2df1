#!/usr/bin/env bash
# Real Apache Kafka (KRaft, one node) for tests, on free loopback ports.
#
#   scripts/kafka.sh run CMD...   starts a broker, runs CMD with FLEETCAST_TEST_KAFKA=host:port, always stops the broker
#   scripts/kafka.sh start        starts one that stays, prints its address
#   scripts/kafka.sh stop         stops what `start` started
#   scripts/kafka.sh fetch        only fetches the jars
#   scripts/kafka.sh tool CLASS…  one of Kafka's own tools, for example: tool TopicCommand --list
#
# Jars come by Maven, once, into .cache/kafka (FLEETCAST_CACHE moves it); needs Java 17 and, for the first run, Maven.
# The data and log of a broker are kept when CMD fails, and when it did not start.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache="${FLEETCAST_CACHE:-$root/.cache}/kafka"
pom="$root/scripts/kafka/pom.xml"
# A cache made from another pom is another cache.
libs="$cache/libs-$(cksum <"$pom" | cut -d' ' -f1)"
state="$cache/started"
start_timeout=60 # seconds; it takes 2 on an idle machine
stop_timeout=20  # seconds, then it is killed

say() { printf 'kafka: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

fetch() {
  [[ -d $libs ]] && return
  command -v mvn >/dev/null || die "Maven is missing: make setup installs it"
  mkdir -p "$cache"
  say "fetching the jars into $libs"
  local fresh
  fresh=$(mktemp -d "$cache/fetch.XXXXXX")
  mvn -q -B -ntp -f "$pom" dependency:copy-dependencies -DoutputDirectory="$fresh" >&2
  # Renamed only when complete, so that a fetch that was cut short is not mistaken for a cache.
  mv -T "$fresh" "$libs" 2>/dev/null || rm -rf "$fresh"
  [[ -d $libs ]] || die "no jars in $libs"
}

# Two ports that are free now, below the range from which the kernel gives ports to clients.
free_ports() {
  python3 - <<'PY'
import random, socket
found = []
for port in random.sample(range(20000, 32000), 200):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
    found.append(port)
    if len(found) == 2:
        break
print(*found)
PY
}

java_run() { java -cp "$libs/*" "$@"; }

answers() { # host:port: true when a broker there lists its API versions
  timeout 10 java -Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=off -cp "$libs/*" \
    org.apache.kafka.tools.BrokerApiVersionsCommand --bootstrap-server "$1" >/dev/null 2>&1
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Sets `dir`, `pid`, `address`.
launch() {
  fetch
  command -v java >/dev/null || die "Java is missing: make setup installs it"
  mkdir -p "$cache"
  dir=$(mktemp -d "$cache/broker.XXXXXX")
  local port controller
  read -r port controller < <(free_ports)
  address="127.0.0.1:$port"
  cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/data
num.partitions=3
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
PROPERTIES
  java_run -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
    kafka.tools.StorageTool format -t "$(java_run -Dorg.slf4j.simpleLogger.defaultLogLevel=off kafka.tools.StorageTool random-uuid)" \
    -c "$dir/server.properties" >"$dir/format.log" 2>&1 || die "formatting failed: see $dir/format.log"
  # Its own session, so that Ctrl-C in the terminal reaches CMD first and the broker is stopped by us.
  setsid java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
    -cp "$libs/*" kafka.Kafka "$dir/server.properties" >"$dir/server.log" 2>&1 </dev/null &
  pid=$!
  local deadline=$((SECONDS + start_timeout))
  until port_open "$port" && answers "$address"; do
    kill -0 "$pid" 2>/dev/null || die "the broker stopped at once: see $dir/server.log"
    ((SECONDS < deadline)) || {
      halt "$pid"
      die "the broker does not answer after $start_timeout s: see $dir/server.log"
    }
    sleep 0.2
  done
  say "Apache Kafka answers on $address (process $pid)"
}

halt() { # pid
  kill -TERM "$1" 2>/dev/null || return 0
  local deadline=$((SECONDS + stop_timeout))
  while kill -0 "$1" 2>/dev/null; do
    if ((SECONDS >= deadline)); then
      say "process $1 does not stop: killing it"
      kill -KILL "$1" 2>/dev/null || true
      break
    fi
    sleep 0.1
  done
}

finish() { # status of CMD
  trap - EXIT INT TERM
  [[ -n ${pid:-} ]] && halt "$pid"
  if [[ -n ${dir:-} ]]; then
    if (($1 == 0)); then rm -rf "$dir"; else say "kept: $dir/server.log"; fi
  fi
  exit "$1"
}

case "${1:-}" in
  run)
    shift
    (($# > 0)) || die "run what?"
    trap 'finish $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    launch
    FLEETCAST_TEST_KAFKA=$address "$@"
    ;;
  start)
    [[ -f $state ]] && die "already started: $(cut -d' ' -f3 "$state"); stop it first"
    launch
    printf '%s %s %s\n' "$pid" "$dir" "$address" >"$state"
    printf '%s\n' "$address"
    ;;
  stop)
    [[ -f $state ]] || {
      say "none was started"
      exit 0
    }
    read -r pid dir address <"$state"
    # The number may be another process's by now: ask what it runs before it is ended.
    if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$dir/server.properties"; then halt "$pid"; fi
    rm -rf "$dir" "$state"
    ;;
  fetch) fetch ;;
  tool)
    shift
    fetch
    class="${1:?which tool?}"
    shift
    java_run -Dorg.slf4j.simpleLogger.defaultLogLevel=error "org.apache.kafka.tools.$class" "$@"
    ;;
  *) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 2 ;;
esac
