//! A limit of memory that the kernel enforces: a control group of the test's own, removed at its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const ROOT: &str = "/sys/fs/cgroup";

pub(crate) struct Cgroup {
    folder: PathBuf,
    is_v2: bool,
}

impl Cgroup {
    /// `None`, with a line that says why, where this user cannot make one.
    pub(crate) fn with_memory(bytes: u64) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let is_v2 = Path::new(ROOT).join("cgroup.controllers").exists();
        let parent = Path::new(ROOT).join(if is_v2 { "" } else { "memory" });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("fleetcast-it-{}-{number}", std::process::id()));
        let limit = if is_v2 {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        let made = fs::create_dir(&folder).and_then(|()| {
            let group = Self { folder, is_v2 };
            fs::write(group.folder.join(limit), bytes.to_string())?;
            Ok(group)
        });
        made.inspect_err(|error| {
            #[expect(clippy::print_stderr, reason = "a test says why it tests nothing")]
            {
                eprintln!("skipped: no control group with a limit of memory can be made: {error}");
            }
        })
        .ok()
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
