//! haproxy between the clients and the servers.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::leftovers::{self, Leftover};

/// `servers`: number and port of each. `buffers`: bytes of the kernel's, between a server and a client.
pub(super) fn start(
    directory: &Path,
    port: u16,
    servers: &[(usize, u16)],
    buffers: usize,
) -> Result<Child> {
    let path = directory.join("haproxy.cfg");
    let mut text = format!(
        "global
    maxconn 9000
    nbthread 1
    stats socket {}/haproxy.sock level admin
    # A slow client is to be felt by the server, not to be hidden in megabytes of the kernel's buffers.
    tune.rcvbuf.server {buffers}
    tune.sndbuf.client {buffers}
    tune.bufsize 16384
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    # haproxy resets idle connections to servers. Without it, a reset right after a polling answer without `t` would mean a loss.
    option forwardfor
    # A server that is just starting or stopping says 503, and another one takes the client.
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response 503
frontend clients
    bind 127.0.0.1:{port} backlog 8192
    default_backend fleet
backend fleet
    balance leastconn
    # A polling session is known to one server only.
    cookie server insert indirect nocache
    option httpchk GET /ready
    default-server check inter 500ms fall 2 rise 1
",
        directory.display()
    );
    for (number, port) in servers {
        use std::fmt::Write as _;
        writeln!(
            text,
            "    server s{number} 127.0.0.1:{port} cookie s{number}"
        )
        .context("writing to a String")?;
    }
    std::fs::write(&path, text)?;
    let log = File::create(directory.join("haproxy.log"))?;
    let mut child = Command::new("haproxy")
        .arg("-db")
        .arg("-f")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start haproxy: make setup installs it")?;
    leftovers::add(Leftover::Process(child.id()));
    let begin = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if child.try_wait()?.is_some() || begin.elapsed() > Duration::from_secs(5) {
            bail!(
                "haproxy does not listen: see {}",
                directory.join("haproxy.log").display()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(child)
}

/// What it does with the connections of a server that it finds dead, if it is asked to. `directory`: where it was started.
pub(super) fn cut(directory: &Path, number: usize) -> Result<()> {
    let mut socket =
        UnixStream::connect(directory.join("haproxy.sock")).context("cannot reach haproxy")?;
    writeln!(socket, "shutdown sessions server fleet/s{number}").context("cannot speak to haproxy")
}
