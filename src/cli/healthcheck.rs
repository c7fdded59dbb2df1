//! `healthcheck`: a GET with a deadline, without an HTTP client; asked once, or until the server is ready.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::{Exit, bad_configuration, print};
use crate::settings::{Settings, values};

/// More than the status line is not needed.
const MAX_ANSWER: usize = 4_096;

#[derive(Debug, clap::Args)]
pub(super) struct HealthcheckArguments {
    /// Ask /ready (fit for traffic) instead of /health (alive)
    #[arg(long)]
    ready: bool,
    /// Port of the server, if it is not PORT
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// How long one answer may take: 3s, 500ms
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = values::duration)]
    timeout: Duration,
    /// Ask again until the answer is 200, for at most this time: 30s
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    wait: Option<Duration>,
}

/// Between two questions while waiting.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn run(
    arguments: &HealthcheckArguments,
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<Exit> {
    let listen = match Settings::listen_from_map(environment) {
        Ok(listen) => listen,
        Err(problems) => return Ok(bad_configuration(&problems)),
    };
    let port = arguments.port.unwrap_or(listen.port);
    if port == 0 {
        bail!("PORT is 0, so the server has picked one: give it with --port");
    }
    let address = SocketAddr::new(reachable(listen.host), port);
    let path = if arguments.ready { "/ready" } else { "/health" };
    let answer = match arguments.wait {
        None => ask(address, path, arguments.timeout),
        Some(wait) => ask_until(address, path, arguments.timeout, Instant::now() + wait),
    };
    let status = answer.with_context(|| {
        let waited = arguments.wait.map_or(String::new(), |wait| {
            format!(" (waited {})", humantime::format_duration(wait))
        });
        format!("no answer from http://{address}{path}{waited}")
    })?;
    print(&format!("{path} at {address} answers {status}\n"))?;
    Ok(if status == 200 {
        Exit::Clean
    } else {
        Exit::Failed
    })
}

/// The first answer that is 200, or the last one before `end`.
fn ask_until(address: SocketAddr, path: &str, timeout: Duration, end: Instant) -> io::Result<u16> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let answer = ask(address, path, timeout.min(left).max(PAUSE));
        if matches!(answer, Ok(200)) || Instant::now() + PAUSE >= end {
            return answer;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "it waits for another process, with a deadline"
        )]
        std::thread::sleep(PAUSE);
    }
}

/// A listener on every address is asked on loopback.
pub(super) fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    }
}

/// The status code of a GET, within `timeout` in all, however slowly the answer drips.
fn ask(address: SocketAddr, path: &str, timeout: Duration) -> io::Result<u16> {
    let end = Instant::now() + timeout;
    let left = || {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(io::Error::from(io::ErrorKind::TimedOut))
        } else {
            Ok(left)
        }
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 512];
    while !answer.contains(&b'\n') && answer.len() < MAX_ANSWER {
        stream.set_read_timeout(Some(left()?))?;
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..count]);
    }
    status(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "that is not HTTP"))
}

/// The code in `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line_is_all_that_counts() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nx: y\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.1 503\r\n"), Some(503));
        for other in [
            &b""[..],
            b"HTTP/2 200",
            b"SSH-2.0-x\r\n",
            b"\xff\n",
            b"HTTP/1.1 \r\n",
        ] {
            assert_eq!(status(other), None);
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        assert!(reachable(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).is_loopback());
        assert!(reachable(IpAddr::V6(Ipv6Addr::UNSPECIFIED)).is_loopback());
        let own: IpAddr = "10.0.0.7".parse().unwrap();
        assert_eq!(reachable(own), own);
    }
}
