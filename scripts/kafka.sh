#!/usr/bin/env bash
# Real Apache Kafka (KRaft) for tests, on free loopback ports.
#
#   scripts/kafka.sh run [OPTION...] CMD...   starts it, runs CMD, always stops it
#   scripts/kafka.sh start [OPTION...]        starts it to stay, prints its address
#   scripts/kafka.sh stop                     stops what `start` started
#   scripts/kafka.sh brokers                  a line for each broker: node, process, host:port, and whether it is up
#   scripts/kafka.sh broker ACTION NODE       kill | stop | start | pause | resume one broker (by its node: 1, 2, 3)
#   scripts/kafka.sh leader TOPIC [NUMBER]    the node that leads a partition (0 unless said)
#   scripts/kafka.sh tool CLASS...            one of Kafka's own tools, for example: tool TopicCommand --list
#   scripts/kafka.sh fetch                    only fetches the jars
#
# Options of `run` and `start`:
#   --brokers N   so many brokers, 1 unless said; with three or more, topics get 3 replicas, of which 2 must be in sync
#   --secure      also listens with SASL_SSL (SCRAM-SHA-512) on every broker: with a good certificate, with an expired one,
#                 and with one for another host name
#
# CMD gets, and `start` keeps in the file `environment` of the cluster's directory:
#   FLEETCAST_TEST_KAFKA           host:port of every broker, comma-separated
#   FLEETCAST_TEST_KAFKA_CLUSTER   the cluster's directory: `broker`, `brokers`, `leader` and `stop` act on the cluster that
#                                  this names; without it on what `start` has started
#   with --secure, of broker 1: FLEETCAST_TEST_KAFKA_SECURE, ..._EXPIRED and ..._MISNAMED (host:port each), ..._CA and
#   ..._OTHER_CA (PEM files; the other one has signed nothing), ..._USER and ..._PASSWORD
#
# `start` takes the directory from FLEETCAST_TEST_KAFKA_CLUSTER too, so that several clusters can run side by side:
#   export FLEETCAST_TEST_KAFKA_CLUSTER=$(mktemp -d); scripts/kafka.sh start --brokers 3; scripts/kafka.sh broker kill 2
#
# Jars come by Maven, once, into .cache/kafka (FLEETCAST_CACHE moves it); needs Java 17 and, for the first run, Maven.
# A cluster's data and logs are kept when CMD fails, and when it did not start.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache="${FLEETCAST_CACHE:-$root/.cache}/kafka"
pom="$root/scripts/kafka/pom.xml"
# A cache made from another pom is another cache.
libs="$cache/libs-$(cksum <"$pom" | cut -d' ' -f1)"
start_timeout=120 # seconds; it takes 2 on an idle machine
stop_timeout=20   # seconds, then it is killed
user=fleetcast
password='let-me-in;please' # a semicolon, so that nothing may take it apart

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

# Ports that are free now, below the range from which the kernel gives ports to clients.
free_ports() { # how many
  python3 - "$1" <<'PY'
import random, socket, sys
found = []
for port in random.sample(range(20000, 32000), 400):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
    found.append(port)
    if len(found) == int(sys.argv[1]):
        break
print(*found)
PY
}

java_run() { java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$libs/*" "$@"; }

tool() { # class, arguments...
  local class="$1"
  shift
  java_run -Dorg.slf4j.simpleLogger.defaultLogLevel=error "org.apache.kafka.tools.$class" "$@"
}

answers() { # host:port: true when a broker there lists its API versions
  timeout 20 java -Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Dorg.slf4j.simpleLogger.defaultLogLevel=off -cp "$libs/*" \
    org.apache.kafka.tools.BrokerApiVersionsCommand --bootstrap-server "$1" >/dev/null 2>&1
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Writes the settings of one broker. A broker's ports are: clients, controller, then those of --secure.
configure() { # node, quorum voters, ports...
  local node="$1" voters="$2" replicas=1 in_sync=1
  shift 2
  local listeners="PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2"
  local protocols="CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT"
  if ((brokers >= 3)); then replicas=3 in_sync=2; fi
  if [[ -n $secure ]]; then
    listeners+=",SECURE://127.0.0.1:$3,EXPIRED://127.0.0.1:$4,MISNAMED://127.0.0.1:$5"
    protocols+=",SECURE:SASL_SSL,EXPIRED:SASL_SSL,MISNAMED:SASL_SSL"
  fi
  mkdir -p "$dir/$node"
  cat >"$dir/$node/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
listeners=$listeners
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=$protocols
log.dirs=$dir/$node/data
num.partitions=3
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$in_sync
group.initial.rebalance.delay.ms=0
PROPERTIES
  [[ -n $secure ]] || return 0
  printf 'sasl.enabled.mechanisms=SCRAM-SHA-512\n' >>"$dir/$node/server.properties"
  local listener
  for listener in secure expired misnamed; do
    cat >>"$dir/$node/server.properties" <<PROPERTIES
listener.name.$listener.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.$listener.ssl.keystore.type=PEM
listener.name.$listener.ssl.keystore.location=$dir/tls/$listener.pem
PROPERTIES
  done
}

# Starts one broker and notes its process; it may not answer yet.
launch() { # node
  # Its own session, so that Ctrl-C in the terminal reaches CMD first and the broker is stopped by us.
  setsid java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
    -cp "$libs/*" kafka.Kafka "$dir/$1/server.properties" >>"$dir/$1/server.log" 2>&1 </dev/null &
  printf '%s\n' "$!" >"$dir/$1/pid"
  # Or this shell would tell of one that is killed on purpose.
  disown
}

await() { # node
  local address pid deadline=$((SECONDS + start_timeout))
  address=$(<"$dir/$1/address")
  pid=$(<"$dir/$1/pid")
  until port_open "${address##*:}" && answers "$address"; do
    kill -0 "$pid" 2>/dev/null || die "broker $1 stopped at once: see $dir/$1/server.log"
    ((SECONDS < deadline)) || die "broker $1 does not answer after $start_timeout s: see $dir/$1/server.log"
    sleep 0.2
  done
}

# The process of a broker, if it still is one: the number may be another's by now.
alive() { # node
  local pid
  pid=$(<"$dir/$1/pid")
  { tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF "$dir/$1/server.properties"; } 2>/dev/null && printf '%s\n' "$pid"
}

nodes() { (cd "$dir" && printf '%s\n' [0-9]*); }

# Makes and starts a whole cluster in `dir`.
found_cluster() {
  fetch
  command -v java >/dev/null || die "Java is missing: make setup installs it"
  local each=2 node voters="" bootstrap="" uuid scram=()
  if [[ -n $secure ]]; then
    each=5
    scram=(--add-scram "SCRAM-SHA-512=[name=$user,password=$password]")
    "$root/scripts/kafka/tls.sh" "$dir/tls" || die "no certificates: see above"
  fi
  local ports
  read -r -a ports < <(free_ports $((brokers * each)))
  for ((node = 1; node <= brokers; node++)); do
    voters+="${voters:+,}$node@127.0.0.1:${ports[(node - 1) * each + 1]}"
    bootstrap+="${bootstrap:+,}127.0.0.1:${ports[(node - 1) * each]}"
  done
  uuid=$(java_run -Dorg.slf4j.simpleLogger.defaultLogLevel=off kafka.tools.StorageTool random-uuid)
  for ((node = 1; node <= brokers; node++)); do
    configure "$node" "$voters" "${ports[@]:(node - 1) * each:each}"
    printf '127.0.0.1:%s\n' "${ports[(node - 1) * each]}" >"$dir/$node/address"
    java_run -Dorg.slf4j.simpleLogger.defaultLogLevel=warn kafka.tools.StorageTool format -t "$uuid" \
      -c "$dir/$node/server.properties" ${scram[@]+"${scram[@]}"} >"$dir/$node/format.log" 2>&1 ||
      die "formatting failed: see $dir/$node/format.log"
  done
  for node in $(nodes); do launch "$node"; done
  for node in $(nodes); do await "$node"; done
  environment=(
    "FLEETCAST_TEST_KAFKA=$bootstrap"
    "FLEETCAST_TEST_KAFKA_CLUSTER=$dir"
  )
  if [[ -n $secure ]]; then
    environment+=(
      "FLEETCAST_TEST_KAFKA_SECURE=127.0.0.1:${ports[2]}"
      "FLEETCAST_TEST_KAFKA_EXPIRED=127.0.0.1:${ports[3]}"
      "FLEETCAST_TEST_KAFKA_MISNAMED=127.0.0.1:${ports[4]}"
      "FLEETCAST_TEST_KAFKA_CA=$dir/tls/ca.pem"
      "FLEETCAST_TEST_KAFKA_OTHER_CA=$dir/tls/other-ca.pem"
      "FLEETCAST_TEST_KAFKA_USER=$user"
      "FLEETCAST_TEST_KAFKA_PASSWORD=$password"
    )
  fi
  printf '%s\n' "${environment[@]}" >"$dir/environment"
  say "Apache Kafka answers on $bootstrap"
}

halt() { # node...: stops them together, and kills those that do not
  local node pid deadline=$((SECONDS + stop_timeout))
  for node in "$@"; do
    pid=$(alive "$node") || continue
    # One that is paused hears nothing else.
    kill -CONT "$pid" 2>/dev/null || true
    kill -TERM "$pid" 2>/dev/null || true
  done
  for node in "$@"; do
    while pid=$(alive "$node"); do
      if ((SECONDS >= deadline)); then
        say "broker $node does not stop: killing it"
        kill -KILL "$pid" 2>/dev/null || true
      fi
      sleep 0.1
    done
  done
}

# A quorum of stopping brokers may wait for one another; nothing of a test's data is worth that.
dissolve() {
  local node pid
  if (($(nodes | wc -l) == 1)); then
    halt 1
    return
  fi
  for node in $(nodes); do
    pid=$(alive "$node") && kill -KILL "$pid" 2>/dev/null
  done
  for node in $(nodes); do
    while alive "$node" >/dev/null; do sleep 0.1; done
  done
}

finish() { # status of CMD
  trap - EXIT INT TERM
  [[ -e $dir/1/pid ]] && dissolve
  if (($1 == 0)); then rm -rf "$dir"; else say "kept: $dir"; fi
  exit "$1"
}

brokers=1
secure=""
options() { # sets `brokers`, `secure`, and `taken`: how many words that were
  taken=0
  while [[ ${1:-} == --* ]]; do
    case "$1" in
      --brokers)
        brokers="${2:-}"
        [[ $brokers =~ ^[1-9]$ ]] || die "--brokers: how many?"
        shift 2
        taken=$((taken + 2))
        ;;
      --secure)
        secure=yes
        shift
        taken=$((taken + 1))
        ;;
      *) die "unknown option $1" ;;
    esac
  done
}

# The cluster that is acted on.
started="$cache/started"
known() {
  dir="${FLEETCAST_TEST_KAFKA_CLUSTER:-$started}"
  [[ -e $dir/1/pid ]] || return 1
}

case "${1:-}" in
  run)
    shift
    options "$@"
    shift "$taken"
    (($# > 0)) || die "run what?"
    mkdir -p "$cache"
    dir=$(mktemp -d "$cache/cluster.XXXXXX")
    trap 'finish $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    found_cluster
    env "${environment[@]}" "$@"
    ;;
  start)
    shift
    options "$@"
    if known; then die "already started in $dir: stop it first"; fi
    mkdir -p "$dir"
    # Not through a link: the brokers' own paths are looked for among the processes.
    dir=$(cd "$dir" && pwd -P)
    trap '[[ $? == 0 ]] || { [[ ! -e $dir/1/pid ]] || dissolve; }' EXIT
    found_cluster
    printf '%s\n' "${environment[0]#*=}"
    ;;
  stop)
    known || {
      say "none was started"
      exit 0
    }
    dir=$(cd "$dir" && pwd -P)
    dissolve
    rm -rf "$dir"
    ;;
  brokers | broker | leader)
    known || die "none was started"
    dir=$(cd "$dir" && pwd -P)
    case "$1" in
      brokers)
        for node in $(nodes); do
          if alive "$node" >/dev/null; then up=up; else up=down; fi
          printf '%s %s %s %s\n' "$node" "$(<"$dir/$node/pid")" "$(<"$dir/$node/address")" "$up"
        done
        ;;
      leader)
        bootstrap=$(sed -n 's/^FLEETCAST_TEST_KAFKA=//p' "$dir/environment")
        found=$(tool TopicCommand --bootstrap-server "$bootstrap" --describe --topic "${2:?which topic?}" |
          sed -nE "s/.*Partition: ${3:-0}[[:space:]]+Leader: ([0-9]+).*/\1/p")
        [[ -n $found ]] || die "no broker leads $2/${3:-0}"
        printf '%s\n' "$found"
        ;;
      broker)
        node="${3:-}"
        [[ -n $node && -d $dir/$node ]] || die "there is no broker \"$node\""
        pid=$(alive "$node" || true)
        [[ -n $pid || $2 == start ]] || die "broker $node is down"
        case "$2" in
          kill) kill -KILL "$pid" ;;
          stop) halt "$node" ;;
          pause) kill -STOP "$pid" ;;
          resume) kill -CONT "$pid" ;;
          start)
            [[ -z $pid ]] || die "broker $node is up"
            launch "$node"
            await "$node"
            ;;
          *) die "unknown action $2: kill, stop, start, pause or resume" ;;
        esac
        ;;
    esac
    ;;
  fetch) fetch ;;
  tool)
    shift
    fetch
    (($# > 0)) || die "which tool?"
    tool "$@"
    ;;
  *) sed -n '2,/^set -e/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 2 ;;
esac
