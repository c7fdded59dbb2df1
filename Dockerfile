# syntax=docker/dockerfile:1

# ---- build ----
FROM rust:1.95-slim-bookworm AS build
# librdkafka is compiled from source and links OpenSSL and zlib.
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make pkg-config zlib1g-dev libssl-dev python3 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# rust-toolchain.toml stays out: it names the linters too, and the image has the compiler already.
COPY Cargo.toml Cargo.lock ./
COPY crates crates
COPY loadgen loadgen
COPY tools tools
COPY profiles profiles
COPY assets assets
COPY docs/configuration.md docs/configuration.md
COPY src src
# The registry and what was compiled are kept between builds, so a change of ours does not compile the dependencies again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin fleetcast \
 && install -D -m 755 target/release/fleetcast /out/fleetcast

# ---- run ----
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin fleetcast
COPY --from=build /out/fleetcast /usr/local/bin/fleetcast
USER 10001
# 8001: clients. 9001: metrics and the internal API, on loopback unless INTERNAL_HOST says otherwise.
EXPOSE 8001 9001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["fleetcast", "healthcheck"]
ENTRYPOINT ["fleetcast"]
CMD ["serve"]
