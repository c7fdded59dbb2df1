//! `drain`: has a running server close a share of its connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fleetcast_core::domain::drain::{DEFAULT_DRAIN_SECONDS, DrainShare, parse_drain_seconds};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::brokers::block_on;
use super::healthcheck::reachable;
use super::{Exit, bad_configuration, plain, print};
use crate::settings::{Listen, Settings, values};

pub(super) const HELP: &str = "\
Exit codes: 0 the server has begun, 1 it refused or did not answer, 2 usage,
78 wrong settings

Examples:
  fleetcast drain                     half of its connections, over 30 s
  fleetcast drain --share 0.25 --seconds 120
  fleetcast drain --url http://10.0.0.7:9001";

/// More than an answer needs, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct DrainArguments {
    /// Which share of the connections that are open: above 0, at most 1
    #[arg(long, value_name = "SHARE", default_value_t = DrainShare::HALF, value_parser = DrainShare::parse)]
    share: DrainShare,
    /// Over how many seconds they are closed: 0 to 3600
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_DRAIN_SECONDS, value_parser = parse_drain_seconds)]
    seconds: u32,
    /// Internal listener of the server [default: http://127.0.0.1:9001, or INTERNAL_HOST and INTERNAL_PORT]
    #[arg(long, value_name = "URL", value_parser = base)]
    url: Option<Url>,
    /// How long the answer may take, which does not wait for the drain: 10s, 500ms
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    timeout: Duration,
}

#[derive(Deserialize)]
struct DrainAnswer {
    connections: u64,
    seconds: u64,
}

/// What is read of a problem.
#[derive(Deserialize)]
struct DrainProblem {
    detail: String,
}

pub(super) fn run(
    arguments: &DrainArguments,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<Exit> {
    let listen = match Settings::listen_from_map(environment) {
        Ok(listen) => listen,
        Err(problems) => return Ok(bad_configuration(&problems)),
    };
    let base = match &arguments.url {
        Some(url) => url.clone(),
        None => own(&listen)?,
    };
    let server = base.as_str().trim_end_matches('/').to_owned();
    let DrainAnswer {
        connections,
        seconds,
    } = block_on(ask(arguments, base, &listen))?
        .with_context(|| format!("{server} has begun no drain"))?;
    print(&format!(
        "{server} closes {connections} connections over {seconds} s\n"
    ))?;
    Ok(Exit::Clean)
}

/// Where the server with these settings listens.
fn own(listen: &Listen) -> anyhow::Result<Url> {
    let port = listen.internal_port;
    if port == 0 {
        bail!("INTERNAL_PORT is 0, so the server has picked one: give it with --url");
    }
    let address = SocketAddr::new(reachable(listen.internal_host), port);
    Ok(Url::parse(&format!("http://{address}"))?)
}

/// `http://127.0.0.1:9001`, perhaps with a path that a proxy takes away.
fn base(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let credentials = !url.username().is_empty() || url.password().is_some();
    if !["http", "https"].contains(&url.scheme()) {
        return Err("expected http:// or https://".to_owned());
    }
    if credentials || url.query().is_some() || url.fragment().is_some() {
        return Err("expected scheme, host, port and path only".to_owned());
    }
    Ok(url)
}

async fn ask(
    arguments: &DrainArguments,
    mut url: Url,
    listen: &Listen,
) -> anyhow::Result<DrainAnswer> {
    (url.path_segments_mut()
        .ok()
        .context("the URL has no path")?)
    .pop_if_empty()
    .extend(["api", "drain"]);
    url.query_pairs_mut()
        .append_pair("share", &arguments.share.to_string())
        .append_pair("seconds", &arguments.seconds.to_string());
    let mut client = Client::builder()
        // The token is for this server alone.
        .redirect(Policy::none())
        .no_proxy()
        .timeout(arguments.timeout);
    if url.scheme() == "http" {
        client = client.tls_certs_only([]);
    }
    let mut request = client.build()?.post(url);
    if let Some(token) = &listen.internal_token {
        request = request.bearer_auth(token.expose_secret());
    }
    let mut response = request.send().await?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        ensure!(body.len() <= MAX_ANSWER, "its answer is too long");
    }
    let status = response.status();
    if status == StatusCode::ACCEPTED {
        return serde_json::from_slice(&body).context("its answer is not what the API says");
    }
    match serde_json::from_slice::<DrainProblem>(&body) {
        Ok(problem) => bail!("{status}: {}", plain(&problem.detail)),
        Err(_) => bail!("it answers {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_a_url_without_credentials_and_query() {
        for good in [
            "http://127.0.0.1:9001",
            "http://[::1]:9001/",
            "https://push.example/instance-3",
        ] {
            assert!(base(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:9001",
            "localhost:9001",
            "ftp://h",
            "http://",
            "http://u@h",
            "http://u:p@h",
            "http://h?share=1",
            "http://h#x",
        ] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }
}
