# Fleetcast's commands. `make help` lists them; `make demo` is the one to start with.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Each target may rely on what stands before it in a list.
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules
# Where Debian puts haproxy and nginx; on the path of root alone.
export PATH := $(PATH):/usr/sbin

# Where cargo puts what it builds: CARGO_TARGET_DIR, or build.target-dir of a cargo configuration. Asked only by what needs it.
TARGET = $(shell scripts/target.sh)
# The demo is built without optimisation: the first start takes half the time, and 20 records a second need no more.
DEMO = $(TARGET)/debug/fleetcast
IMAGE ?= fleetcast:local
CONTAINER ?= fleetcast
ARGS ?=
# The server that tests with real clients start; what else they need lies beside it.
WITH_BIN = FLEETCAST_BIN="$${FLEETCAST_BIN:-$(abspath $(TARGET))/release/fleetcast}"
SCRIPTS := .ci/run start.sh $(wildcard scripts/*.sh scripts/*/*.sh)

##@ Start here
.PHONY: demo
demo: ## Install what is missing, build, and run a city with its own Kafka and a QA page on port 8001
	@scripts/setup.sh build
	@cargo build --locked --bin fleetcast
	@exec $(DEMO) demo $(ARGS)

.PHONY: test
test: ## Install what is missing and test everything, against real Kafka too
	@scripts/test.sh

.PHONY: test-fast
test-fast: ## The same without what needs Java
	@scripts/test.sh fast

##@ Develop
.PHONY: setup install
setup: ## Install what building and testing need (apt-get only for what is absent)
	@scripts/setup.sh
	@$(MAKE) --no-print-directory node-modules python-client
install: setup ## The same

.PHONY: dev
dev: ## The demo from a debug build, with debug logs
	@cargo build --locked --bin fleetcast
	@LOG_LEVEL=$${LOG_LEVEL:-debug} exec $(DEMO) demo $(ARGS)

.PHONY: build
build: ## Optimised binaries into target/release (or CARGO_TARGET_DIR)
	@cargo build --release --locked --workspace --bins

.PHONY: run
run: build ## Serve with the settings of .env, once Kafka is within reach
	@exec ./start.sh $(ARGS)

.PHONY: check
check: lint doc deps ## All that needs no test run, as CI runs it: format, lints, docs, dependencies

# Optional, because installing these takes minutes: cargo install --locked cargo-deny cargo-machete
.PHONY: deps
deps: ## Licences, bans and sources of dependencies (deny.toml), and unused ones, where the tools are installed
	@if command -v cargo-deny >/dev/null; then cargo deny --locked check; else echo "cargo-deny is not installed: skipped"; fi
	@if command -v cargo-machete >/dev/null; then cargo machete; else echo "cargo-machete is not installed: skipped"; fi

.PHONY: lint
lint: node-modules ## Formatting and lints of Rust, shell and JavaScript, warnings refused
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	@command -v shellcheck >/dev/null || { echo "shellcheck is missing: make setup installs it" >&2; exit 1; }
	@shellcheck $(SCRIPTS)
	@scripts/with_bugs.sh check
	@cd client-tests/js && npm run --silent lint

.PHONY: doc
doc: ## API documentation with private items, broken links refused
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked --quiet

.PHONY: format
format: node-modules ## Format everything
	@cargo fmt --all
	@cd client-tests/js && npm run --silent format

##@ Test in parts
.PHONY: client-tests
client-tests: node-modules python-client build ## socket.io-client against the release build (FLEETCAST_TEST_KAFKA: on that Kafka)
	@cd client-tests/js && $(WITH_BIN) npm test --silent

# CLIENTS: those of js, python and java to try; ROUNDS: answers that are lost to each of them.
.PHONY: poll-losses
ROUNDS ?= 20
CLIENTS ?= js python java
poll-losses: node-modules build ## Stock clients whose polling answers are lost (ROUNDS=500 CLIENTS="js python java")
	@cd client-tests/js && $(WITH_BIN) node losses/run.js $(ROUNDS) $(CLIENTS)

.PHONY: lane-clients
LOAD_SECONDS ?= 12
lane-clients: node-modules build ## Stock and strict clients under load, cut at random bytes (LOAD_SECONDS=300 CLIENTS="js python java")
	@cd client-tests/js && $(WITH_BIN) node lane/run.js $(LOAD_SECONDS) $(CLIENTS)

.PHONY: balancer-tests
balancer-tests: node-modules build ## Stock clients behind haproxy and nginx while instances are restarted and crash (CLIENTS="js python java")
	@cd client-tests/js && $(WITH_BIN) node balancer/run.js $(CLIENTS)

.PHONY: browser-test
browser-test: node-modules build ## The QA page in Chromium
	@cd client-tests/browser && $(WITH_BIN) npm test --silent

.PHONY: readme-test
readme-test: node-modules python-client build ## README.md's clients and commands and start.sh, as they are written
	@cd client-tests/readme && $(WITH_BIN) npm test --silent

.PHONY: kafka-tests
kafka-tests: ## Integration and client tests on real Apache Kafka, started and stopped here
	@scripts/test.sh kafka

.PHONY: chaos
chaos: build with-bugs ## Faults of every kind against three servers, checked; and whether the checker finds seeded bugs
	@$(TARGET)/release/loadgen chaos --jobs 3 $(ARGS)
	@$(TARGET)/release/loadgen chaos --seeded-bugs --jobs 3

.PHONY: chaos-long
chaos-long: build ## All scenarios until it can be believed: 2,000 clients, 1,000 records/s, three quarters of an hour
	@exec $(TARGET)/release/loadgen chaos --form long $(ARGS)

.PHONY: with-bugs
with-bugs: build ## The server with seeded bugs (tools/seeded_bugs)
	@scripts/with_bugs.sh build
	@# What is looked for must be there to be found, and must not be in what is released.
	@grep -aq SEEDED_BUG $(TARGET)/release/fleetcast-with-bugs
	@! grep -aq SEEDED_BUG $(TARGET)/release/fleetcast

.PHONY: load
load: build ## The load generator; make load ARGS="--help"
	@exec $(TARGET)/release/loadgen $(ARGS)

.PHONY: bench
bench: build loadgen/peers/node/node_modules/.package-lock.json ## What a delivery costs beside Node and a bare writer: 40 minutes, docs/performance.md
	@exec $(TARGET)/release/loadgen bench --page docs/performance.md $(ARGS)

.PHONY: control
control: build ## Revocation, token refresh, publishing over HTTP, a limit of memory: 7 minutes, docs/performance.md
	@exec $(TARGET)/release/loadgen control --page docs/performance.md $(ARGS)

.PHONY: adapter
adapter: build loadgen/peers/node/node_modules/.package-lock.json ## What an event costs that crosses instances by Redis, beside Node's adapter: 3 minutes, docs/performance.md
	@exec $(TARGET)/release/loadgen adapter --page docs/performance.md $(ARGS)

.PHONY: attacks
attacks: build ## Each limit's attack on a server with limits and without, and what its other clients notice: 12 minutes, docs/performance.md
	@exec $(TARGET)/release/loadgen attacks --page docs/performance.md $(ARGS)

.PHONY: node-modules
node-modules: client-tests/js/node_modules/.package-lock.json client-tests/browser/node_modules/.package-lock.json
%/node_modules/.package-lock.json: %/package-lock.json %/package.json
	@cd $* && npm ci --silent
	@touch $@

.PHONY: python-client
python-client: # the stock Python client, in .cache/python
	@scripts/python.sh

##@ Docker
.PHONY: docker-build
docker-build: ## Build the image
	@docker build --tag $(IMAGE) .

.PHONY: docker-run
docker-run: ## Run the image with the settings of .env
	@docker run --detach --name $(CONTAINER) --publish $(PORT):8001 --env-file .env --env HOST=0.0.0.0 \
		--env PORT=8001 --env FLEETCAST_PORT=8001 --restart unless-stopped $(IMAGE)
# As for docker compose: PORT of the environment, of the command line, or of .env is the port of this machine.
PORT ?= $(or $(shell sed -n 's/^PORT=//p' .env 2>/dev/null | tail -1),8001)

.PHONY: docker-stop
# Longer than DRAIN_SECONDS (10), the 5 s that may follow, and 2 s more.
docker-stop: ## Stop and remove that container, after its drain time
	@docker stop --time 20 $(CONTAINER)
	@docker rm $(CONTAINER)

.PHONY: docker-logs
docker-logs: ## Follow its log
	@docker logs --follow --tail 100 $(CONTAINER)

##@ Look at a running server
.PHONY: health
health: ## Is it alive and ready? (PORT, or ADDRESS=http://127.0.0.1:8001)
	@curl --fail-with-body --silent --show-error --max-time 5 $(ADDRESS)/ready && echo

.PHONY: stats
stats: ## What it is doing
	@curl --fail-with-body --silent --show-error --max-time 5 $(ADDRESS)/stats && echo
ADDRESS ?= http://127.0.0.1:$(PORT)

##@ Clean up
.PHONY: clean
clean: ## Remove what was built and installed here (not the jars in .cache)
	@cargo clean --quiet
	@rm -rf client-tests/js/node_modules client-tests/browser/node_modules loadgen/peers/node/node_modules

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z -]*:.*## / { sub(/ .*/, "", $$1); printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
