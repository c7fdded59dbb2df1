//! A limit of memory that the kernel enforces: a control group of the test's own, removed at its end.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const ROOT: &str = "/sys/fs/cgroup";
/// Set: root skips the tests that need a control group, where none can be made. Without it they fail, so that a run that passes has
/// tested what it names.
const SKIP: &str = "FLEETCAST_TEST_NO_CGROUP";

pub(crate) struct Cgroup {
    folder: PathBuf,
    is_v2: bool,
}

impl Cgroup {
    /// `None`, with a line that says why, where none can be made and that may be: see [`skipped`].
    pub(crate) fn with_memory(bytes: u64) -> Option<Self> {
        let error = match Self::make(bytes) {
            Ok(group) => return Some(group),
            Err(error) => error,
        };
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        #[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
        let is_allowed = std::env::var(SKIP).is_ok();
        let reason = skipped(&error, is_root, is_allowed);
        #[expect(clippy::print_stderr, reason = "a test says why it tests nothing")]
        {
            eprintln!("{reason}");
        }
        None
    }

    fn make(bytes: u64) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let is_v2 = Path::new(ROOT).join("cgroup.controllers").exists();
        let parent = Path::new(ROOT).join(if is_v2 { "" } else { "memory" });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("fleetcast-it-{}-{number}", std::process::id()));
        fs::create_dir(&folder)?;
        let group = Self { folder, is_v2 };
        // What is swapped out would not count, and a process over the limit would live. A kernel without swap lacks the second file.
        let (limit, swap) = if is_v2 {
            ("memory.max", ("memory.swap.max", 0))
        } else {
            (
                "memory.limit_in_bytes",
                ("memory.memsw.limit_in_bytes", bytes),
            )
        };
        fs::write(group.folder.join(limit), bytes.to_string())?;
        let swap_file = group.folder.join(swap.0);
        if swap_file.exists() {
            fs::write(swap_file, swap.1.to_string())?;
        }
        Ok(group)
    }

    /// Runs the program in the group, from its first page on.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut shell = Command::new("/bin/sh");
        let enter = "echo $$ > \"$1\" && exec \"$0\"";
        shell.args(["-c", enter, program]);
        shell.arg(self.folder.join("cgroup.procs"));
        shell
    }

    /// How many processes of the group the kernel has killed for lack of memory.
    pub(crate) fn killed(&self) -> u64 {
        let file = if self.is_v2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let events = fs::read_to_string(self.folder.join(file)).unwrap();
        let killed = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        killed.map_or(0, |count| count.trim().parse().unwrap())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It is empty once its process has been waited for.
        if let Err(error) = fs::remove_dir(&self.folder)
            && !std::thread::panicking()
        {
            panic!("{} is left: {error}", self.folder.display());
        }
    }
}

/// Why a test without a group is skipped. Fails it where it may not be: root can make one, and where it cannot, a variable says so.
fn skipped(error: &io::Error, is_root: bool, is_allowed: bool) -> String {
    let failure = format!("no control group with a limit of memory can be made: {error}");
    assert!(
        !is_root || is_allowed,
        "{failure}; set {SKIP}=1 to skip the tests that need one"
    );
    format!("skipped: {failure}")
}

#[test]
fn a90_test_without_a_control_group_is_skipped_by_other_users_than_root_or_by_a_variable() {
    for (is_root, is_allowed, is_skipped) in [
        (true, false, false),
        (true, true, true),
        (false, false, true),
    ] {
        let result = std::panic::catch_unwind(|| {
            skipped(&io::ErrorKind::NotFound.into(), is_root, is_allowed)
        });
        assert_eq!(result.is_ok(), is_skipped, "{is_root} {is_allowed}");
    }
}
