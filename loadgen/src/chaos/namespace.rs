//! A network namespace with one address in it, joined to this machine's by a pair of virtual interfaces: what runs in it can be cut
//! off without any error.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::note;

#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    /// The third number of both addresses, 10.213.N.1 here and 10.213.N.2 in it.
    net: u8,
}

impl Namespace {
    /// It takes root, iproute2 and nftables.
    pub(super) fn make() -> Result<Self> {
        let namespace = Self {
            name: format!("fleetcast-{:x}", std::process::id()),
            net: rand::random(),
        };
        let (name, here, there) = (
            &namespace.name,
            namespace.interface(0),
            namespace.interface(1),
        );
        call(Command::new("nft").arg("--version"))?;
        ip(&["netns", "add", name])?;
        ip(&[
            "link", "add", &here, "type", "veth", "peer", "name", &there, "netns", name,
        ])?;
        ip(&[
            "addr",
            "add",
            &format!("10.213.{}.1/24", namespace.net),
            "dev",
            &here,
        ])?;
        ip(&["link", "set", &here, "up"])?;
        let address = format!("{}/24", namespace.address());
        ip(&["-n", name, "addr", "add", &address, "dev", &there])?;
        ip(&["-n", name, "link", "set", &there, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    fn interface(&self, end: u8) -> String {
        format!("fc{:02x}{end}", self.net)
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.net, 2)
    }

    /// A program that runs in it.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// From now on all packets from outside vanish: no reset, no error.
    pub(crate) fn cut(&self) -> Result<()> {
        let rules = "add table inet cut; add chain inet cut input { type filter hook input priority 0; policy drop; }; add rule inet cut input iif lo accept";
        call(self.command("nft").arg(rules))
    }

    pub(crate) fn mend(&self) -> Result<()> {
        call(self.command("nft").arg("delete table inet cut"))
    }
}

impl Drop for Namespace {
    /// The interfaces go with it.
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            note(&format!(
                "namespace {} may be left over: {error:#}",
                self.name
            ));
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    call(Command::new("ip").args(arguments))
}

fn call(command: &mut Command) -> Result<()> {
    let text = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {text}"))?;
    ensure!(
        output.status.success(),
        "{text}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
