//! A limit of memory that the kernel enforces: a control group for one server, removed at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

const ROOT: &str = "/sys/fs/cgroup";

pub(super) struct MemoryGroup {
    folder: PathBuf,
    is_v2: bool,
}

impl MemoryGroup {
    pub(super) fn make(bytes: u64) -> Result<Self> {
        let is_v2 = Path::new(ROOT).join("cgroup.controllers").exists();
        let parent = Path::new(ROOT).join(if is_v2 { "" } else { "memory" });
        let folder = parent.join(format!("fleetcast-control-{}", std::process::id()));
        fs::create_dir(&folder).context("no control group with a limit of memory can be made")?;
        let group = Self { folder, is_v2 };
        // What is swapped out would not count. A kernel without swap lacks the second file.
        let (limit, swap) = if is_v2 {
            ("memory.max", ("memory.swap.max", 0))
        } else {
            (
                "memory.limit_in_bytes",
                ("memory.memsw.limit_in_bytes", bytes),
            )
        };
        fs::write(group.folder.join(limit), bytes.to_string())
            .context("the control group takes no limit of memory")?;
        let swap_file = group.folder.join(swap.0);
        if swap_file.exists() {
            fs::write(swap_file, swap.1.to_string()).context("swap cannot be limited")?;
        }
        Ok(group)
    }

    /// Runs the program in the group, from its first page on.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", "echo $$ > \"$1\" && shift && exec \"$@\"", "sh"])
            .arg(self.folder.join("cgroup.procs"))
            .arg(program);
        shell
    }

    /// How many processes of the group the kernel has killed for lack of memory.
    pub(super) fn killed(&self) -> Result<u64> {
        let file = if self.is_v2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let events = fs::read_to_string(self.folder.join(file))?;
        let killed = events
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        let killed = killed.with_context(|| format!("{file} does not count oom_kill"))?;
        killed.trim().parse().context("a count that is none")
    }

    /// The most that its processes and their sockets' buffers have taken, in bytes.
    pub(super) fn peak(&self) -> Option<u64> {
        let file = if self.is_v2 {
            "memory.peak"
        } else {
            "memory.max_usage_in_bytes"
        };
        let text = fs::read_to_string(self.folder.join(file)).ok()?;
        text.trim().parse().ok()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // It is empty once its process has been waited for.
        if let Err(error) = fs::remove_dir(&self.folder) {
            super::note(&format!("{} is left: {error}", self.folder.display()));
        }
    }
}
