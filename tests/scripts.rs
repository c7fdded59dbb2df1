//! What the scripts would install: run with stand-ins for everything that they call, so that nothing is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A folder of commands, the only one on the path: a bare system, but for Rust and Node.js.
struct BareSystem {
    folder: TempDir,
}

impl BareSystem {
    fn new() -> Self {
        let system = Self {
            folder: TempDir::new().expect("a folder"),
        };
        for tool in ["bash", "env", "dirname"] {
            let path = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(tool));
            let path = path.iter().find(|path| path.exists()).expect(tool);
            symlink(path, system.path(tool)).expect(tool);
        }
        system.stand_in("cargo", "exit 0");
        system.stand_in("npm", "exit 0");
        system.stand_in("node", "echo v20.1.0");
        system.stand_in("sudo", "exec \"$@\"");
        system.stand_in("dpkg-query", "exit 1");
        let log = system.path("log");
        system.stand_in("apt-get", &format!("echo \"$@\" >>{}", log.display()));
        for tool in ["ln", "rm", "update-rc.d"] {
            let body = format!("echo {tool} \"$@\" >>{}", log.display());
            system.stand_in(tool, &body);
        }
        // What comes after the installation is not for this test.
        system.stand_in("make", "exit 3");
        system
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn stand_in(&self, name: &str, body: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/bash\n{body}\n")).expect(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect(name);
    }

    /// What a script runs that would change the machine, a line each.
    fn log(&self, script: &str, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let output = Command::new("/bin/bash")
            .arg(&script)
            .args(arguments)
            .env("PATH", self.folder.path())
            .output()
            .expect("bash");
        fs::read_to_string(self.path("log"))
            .unwrap_or_else(|_| panic!("nothing was installed: {output:?}"))
    }

    /// The packages that a script asks `apt-get` for.
    fn installs(&self, script: &str, arguments: &[&str]) -> Vec<String> {
        let log = self.log(script, arguments);
        let line = log.lines().find(|line| line.starts_with("install "));
        line.unwrap_or_else(|| panic!("no installation: {log}"))
            .split(' ')
            .skip(1)
            .filter(|word| !word.starts_with('-'))
            .map(str::to_owned)
            .collect()
    }
}

const JAVA: [&str; 2] = ["maven", "openjdk-17-jdk-headless"];

#[test]
fn fast_tests_install_all_that_tests_need_but_java() {
    let mut all = BareSystem::new().installs("scripts/test.sh", &[]);
    let fast = BareSystem::new().installs("scripts/test.sh", &["fast"]);
    assert!(JAVA.iter().all(|package| all.contains(&(*package).into())));
    all.retain(|package| !JAVA.contains(&package.as_str()));
    assert_eq!(all, fast);
    let servers = ["haproxy", "nginx-light", "redis-server"];
    for package in ["gcc", "shellcheck", "chromium", "python3-venv"]
        .iter()
        .chain(&servers)
    {
        assert!(fast.contains(&(*package).into()), "{package}: {fast:?}");
    }
}

#[test]
fn servers_that_are_installed_for_tests_do_not_run_as_services() {
    let log = BareSystem::new().log("scripts/setup.sh", &[]);
    let steps: Vec<&str> = log.lines().collect();
    let [policy, _update, install, disabled @ .., removed] = &steps[..] else {
        panic!("{log}");
    };
    assert!(policy.starts_with("ln -s /") && policy.ends_with("/policy-rc.d"));
    let linked = policy.split(' ').nth(2).expect("what it links to");
    let code = Command::new(linked).status().expect("it is executable");
    assert_eq!(code.code(), Some(101), "the answer for: do not start it");
    assert!(install.starts_with("install "), "{log}");
    let services = ["haproxy", "redis-server", "nginx"];
    assert_eq!(
        disabled,
        services.map(|it| format!("update-rc.d {it} disable"))
    );
    assert_eq!(*removed, "rm -f /usr/sbin/policy-rc.d");

    // The machine's own policy stays.
    let system = BareSystem::new();
    system.stand_in("ln", "exit 1");
    let log = system.log("scripts/setup.sh", &[]);
    assert!(log.contains("install ") && !log.contains("rm "), "{log}");
    let log = BareSystem::new().log("scripts/setup.sh", &["build"]);
    assert!(log.contains("install ") && !log.contains("policy"), "{log}");
}

#[test]
fn a_build_installs_nothing_that_only_tests_need() {
    let build = BareSystem::new().installs("scripts/setup.sh", &["build"]);
    assert!(build.contains(&"gcc".to_owned()));
    let tests = ["haproxy", "nginx-light", "redis-server", "shellcheck"];
    let more = ["chromium", "curl", "python3-venv"];
    for package in tests.iter().chain(&more).chain(&JAVA) {
        assert!(!build.contains(&(*package).to_owned()), "{package}");
    }
}

/// What `make` would run, with these variables in the environment.
fn make(target: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new("make")
        .env_remove("MAKEFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("PORT")
        .envs(variables.iter().copied())
        .args(["--dry-run", "--no-print-directory", target])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("make");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_target_test_fast_runs_the_fast_tests() {
    for (target, command) in [
        ("test-fast", "scripts/test.sh fast"),
        ("test", "scripts/test.sh"),
    ] {
        assert_eq!(make(target, &[]), command, "{target}");
    }
}

#[test]
fn make_targets_run_the_binaries_of_the_target_directory() {
    let elsewhere = [("CARGO_TARGET_DIR", "/elsewhere")];
    for (target, command) in [
        ("demo", "/elsewhere/debug/fleetcast demo"),
        ("dev", "/elsewhere/debug/fleetcast demo"),
        ("load", "/elsewhere/release/loadgen"),
        (
            "attacks",
            "/elsewhere/release/loadgen attacks --page docs/performance.md",
        ),
        ("with-bugs", "/elsewhere/release/fleetcast-with-bugs"),
        ("client-tests", "/elsewhere/release/fleetcast"),
        ("poll-losses", "/elsewhere/release/fleetcast"),
        ("balancer-tests", "/elsewhere/release/fleetcast"),
        ("browser-test", "/elsewhere/release/fleetcast"),
        ("readme-test", "/elsewhere/release/fleetcast"),
    ] {
        let printed = make(target, &elsewhere);
        assert!(printed.contains(command), "{target}: {printed}");
        assert!(!printed.contains("target/"), "{target}: {printed}");
    }
}

#[test]
fn targets_follow_the_port_of_the_environment() {
    for (target, expected) in [
        ("docker-run", "--publish 8123:8001"),
        ("health", "http://127.0.0.1:8123/ready"),
        ("stats", "http://127.0.0.1:8123/stats"),
    ] {
        let printed = make(target, &[("PORT", "8123")]);
        assert!(printed.contains(expected), "{target}: {printed}");
    }
}
