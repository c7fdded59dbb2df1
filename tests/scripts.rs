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

#[test]
fn the_target_test_fast_runs_the_fast_tests() {
    for (target, command) in [
        ("test-fast", "scripts/test.sh fast"),
        ("test", "scripts/test.sh"),
    ] {
        let output = Command::new("make")
            .env_remove("MAKEFLAGS")
            .args(["--dry-run", "--no-print-directory", target])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("make");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(printed.trim(), command, "{target}");
    }
}
