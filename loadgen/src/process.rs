//! CPU time and memory of a process, from `/proc`, and how many files this one may open.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// `/proc` counts in ticks; Linux shows a hundredth of a second to user space on every architecture we run on.
const TICK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu: Duration,
    pub(crate) rss_kib: u64,
    /// The most that it ever was.
    pub(crate) peak_rss_kib: u64,
}

/// `pid`: a number, or `self`.
pub(crate) fn usage(pid: &str) -> Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let ticks =
        cpu_ticks(&read("stat")?).with_context(|| format!("/proc/{pid}/stat has another form"))?;
    let status = read("status")?;
    Ok(Usage {
        cpu: TICK * u32::try_from(ticks).unwrap_or(u32::MAX),
        rss_kib: kib(&status, "VmRSS:").unwrap_or(0),
        peak_rss_kib: kib(&status, "VmHWM:").unwrap_or(0),
    })
}

/// The time that the threads of a process whose names `wanted` accepts have had a processor. Of those that have ended nothing is known.
pub(crate) fn threads_cpu(pid: &str, wanted: impl Fn(&str) -> bool) -> Result<Duration> {
    let directory = format!("/proc/{pid}/task");
    let threads =
        std::fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))?;
    let mut nanoseconds = 0;
    for thread in threads {
        let path = thread?.path();
        // It may have ended since.
        let read = |file: &str| std::fs::read_to_string(path.join(file)).unwrap_or_default();
        if wanted(read("comm").trim()) {
            nanoseconds += first_number(&read("schedstat"));
        }
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Of `schedstat`: the nanoseconds on a processor. 0 of an empty one.
fn first_number(text: &str) -> u64 {
    let first = text.split_whitespace().next();
    first.and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// How long a core has worked since the machine was started, for all processes, and how much time other machines took of it.
pub(crate) fn core_usage(core: usize) -> Result<CoreUsage> {
    let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let time = |fields: &[usize]| {
        let ticks = sum_of_ticks(&stat, core, fields)
            .with_context(|| format!("/proc/stat has no core {core}"))?;
        anyhow::Ok(TICK * u32::try_from(ticks).unwrap_or(u32::MAX))
    };
    Ok(CoreUsage {
        busy: time(&BUSY)?,
        stolen: time(&STOLEN)?,
    })
}

/// Of one core, since the machine was started. To a hundredth of a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CoreUsage {
    pub(crate) busy: Duration,
    /// What other virtual machines took of it while it had something to do.
    pub(crate) stolen: Duration,
}

/// User, nice and system time, and that of interrupts.
const BUSY: [usize; 5] = [0, 1, 2, 5, 6];
const STOLEN: [usize; 1] = [7];

fn sum_of_ticks(stat: &str, core: usize, wanted: &[usize]) -> Option<u64> {
    let name = format!("cpu{core} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name))?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    Some(wanted.iter().filter_map(|field| fields.get(*field)).sum())
}

/// Fields 14 and 15; the program's name before them may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Of this process and, inherited, of each that it starts.
pub(crate) fn raise_open_files(count: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    ensure!(
        limit.maximum.is_none_or(|most| most >= count),
        "open files are limited to {:?}, and {count} are needed: ulimit -Hn",
        limit.maximum
    );
    let current = limit.current.map(|now| now.max(count));
    let raised = Rlimit {
        current,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 10 0 0 0 120 30 0 0 20 0 1 0 100 1000 50";
        assert_eq!(cpu_ticks(stat), Some(150));
        assert_eq!(kib("Name:\tx\nVmRSS:\t  1234 kB\n", "VmRSS:"), Some(1234));
    }

    #[test]
    fn a_core_is_busy_with_all_but_waiting() {
        let stat = "cpu  9 9 9 9 9 9 9 9\ncpu0 1 2 4 1000 500 8 16 90 0 0\ncpu1 7 0 0 0 0 0 0 0\n";
        assert_eq!(sum_of_ticks(stat, 0, &BUSY), Some(31));
        assert_eq!(sum_of_ticks(stat, 0, &STOLEN), Some(90));
        assert_eq!(sum_of_ticks(stat, 1, &BUSY), Some(7));
        assert_eq!(sum_of_ticks(stat, 2, &BUSY), None);
    }

    #[test]
    fn threads_of_this_process_have_worked() {
        let all = threads_cpu("self", |_| true).expect("Linux");
        let none = threads_cpu("self", |_| false).expect("Linux");
        assert!(all > none && none == Duration::ZERO);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(usage("self").expect("Linux").rss_kib > 0);
    }
}
