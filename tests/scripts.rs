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
        system.stand_in(
            "apt-get",
            &format!("echo \"$@\" >>{}", system.path("log").display()),
        );
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

    /// The packages that a script asks `apt-get` for.
    fn installs(&self, script: &str, arguments: &[&str]) -> Vec<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let output = Command::new("/bin/bash")
            .arg(&script)
            .args(arguments)
            .env("PATH", self.folder.path())
            .output()
            .expect("bash");
        let log = fs::read_to_string(self.path("log"))
            .unwrap_or_else(|_| panic!("nothing was installed: {output:?}"));
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
    for package in ["gcc", "haproxy", "shellcheck", "chromium", "python3-venv"] {
        assert!(fast.contains(&package.to_owned()), "{package}: {fast:?}");
    }
}

#[test]
fn a_build_installs_nothing_that_only_tests_need() {
    let build = BareSystem::new().installs("scripts/setup.sh", &["build"]);
    assert!(build.contains(&"gcc".to_owned()));
    for package in ["haproxy", "shellcheck", "chromium", "curl", "python3-venv"]
        .iter()
        .chain(&JAVA)
    {
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
