//! What a process does as its memory comes near to what it may take (`MAX_RSS`). It refuses new connections, then it shortens the log
//! window and has the allocator return what is free. Once there is memory again, the window may grow back.
//!
//! In percent of the limit: refused from 85 on, until less than 82 are in use; shortened over 90, by what lies above 78; lengthened below 75,
//! up to there, and up to 80 after five minutes in which it was not short. So the window alone, however much comes, settles where connections
//! are accepted, and above that it is left as it is: nothing goes to and fro.
//!
//! It neither measures nor reads the clock.

const REFUSE: u64 = 85;
const ACCEPT: u64 = 82;
const SHRINK: u64 = 90;
const TARGET: u64 = 78;
const GROW: u64 = 75;
/// The same, once memory was not that short for `QUIET_MS`. Connections may take as much as `GROW` by themselves, and then a short
/// burst of something else would leave the window short for good.
const GROW_QUIET: u64 = 80;
const QUIET_MS: u64 = 5 * 60_000;
/// From here on memory may be full within a second: a window is loaded from Kafka with 100 MB a second and more.
const NEAR: u64 = 50;
/// From here on the window's youngest part is not spared, if it is the window that takes the memory. The alternative is that the kernel
/// ends the process, and with it the whole window and all connections.
const LAST_RESORT: u64 = 95;

/// The youngest part of the window, which is spared: in milliseconds.
pub const SPARED_MS: u64 = 10_000;

/// After the window was shortened and the allocator has returned what became free: so long until the next time, in milliseconds.
const PAUSE_MS: u64 = 5_000;

/// The allocator is asked so long after the window was shortened, or before, once all of it is evicted.
const EVICTION_MS: u64 = 2_000;

/// And so often while connections are refused, or the window is limited: memory becomes free in other ways, too. Each time that less
/// than `RETURNED` percent of the limit came back, the period doubles, and so many times at most: it holds the allocator's locks.
const TRIM_REFUSING_MS: u64 = 10_000;
const TRIM_LIMITED_MS: u64 = 30_000;
const RETURNED: u64 = 1;
const TRIM_DOUBLINGS: u32 = 3;

/// When connections were refused for so long and it is the window that takes the memory, it is shortened too. It is the same on all
/// instances, so else they might all refuse connections for good.
const REFUSED_MS: u64 = 30_000;

/// It is the window that takes the memory where it takes more than this part of the limit. That part it keeps.
const WINDOW_SHARE: u64 = 4;

/// What the window may take for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimit {
    pub bytes: usize,
    /// What came within so many milliseconds stays all the same.
    pub kept_ms: u64,
}

/// What the window takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowUse {
    pub bytes: usize,
    /// Of the oldest entry, in milliseconds.
    pub age_ms: u64,
    /// It is over its limit, and what organisations have over their share of that is too young to go.
    pub is_at_minimum: bool,
}

/// What was measured at one moment.
#[derive(Debug, Clone, Copy)]
pub struct MemoryReading {
    /// Monotonic.
    pub now_ms: u64,
    /// What the process takes, in bytes.
    pub resident: u64,
    pub window: WindowUse,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryAction {
    /// The new limit of the window, if it has changed.
    pub limit: Option<WindowLimit>,
    /// The window gets shorter by it.
    pub shrinks: bool,
    /// The allocator is to return what is free.
    pub trim: bool,
}

#[derive(Debug)]
pub struct MemoryLimit {
    max: u64,
    /// What the window may take when memory is not short.
    whole: usize,
    window: WindowLimit,
    /// Connections are refused since then.
    refusing: Option<u64>,
    /// The window was shortened then, and the allocator was not asked since.
    shrunk: Option<u64>,
    /// Memory was so short then, for the last time, that the window was shortened, or would have been.
    last_short: Option<u64>,
    /// The next look at the window.
    pause_until: u64,
    trimmed: Option<u64>,
    /// What the process took when the allocator was asked, until the reading after that.
    trimmed_at: Option<u64>,
    /// How often the period between two times is doubled.
    doublings: u32,
}

impl MemoryLimit {
    /// `max` and `window_bytes` are numbers of bytes.
    pub fn new(max: u64, window_bytes: usize) -> Self {
        Self {
            max,
            whole: window_bytes,
            window: WindowLimit {
                bytes: window_bytes,
                kept_ms: SPARED_MS,
            },
            refusing: None,
            shrunk: None,
            last_short: None,
            pause_until: 0,
            trimmed: None,
            trimmed_at: None,
            doublings: 0,
        }
    }

    /// New connections are refused.
    pub fn refuses(&self) -> bool {
        self.refusing.is_some()
    }

    /// What the window may take for now.
    pub fn window(&self) -> WindowLimit {
        self.window
    }

    /// The window may take less than its settings say.
    pub fn is_limited(&self) -> bool {
        self.window.bytes < self.whole
    }

    /// It is limited, and what is over the limit belongs to the part that is spared.
    pub fn is_at_minimum(&self, window: WindowUse) -> bool {
        self.is_limited() && (window.is_at_minimum || window.age_ms <= SPARED_MS)
    }

    /// Whether the next reading should come sooner than after a second: memory may be full before that.
    pub fn is_near(&self, resident: u64) -> bool {
        resident > self.percent(NEAR)
    }

    pub fn observe(&mut self, reading: MemoryReading) -> MemoryAction {
        let before = self.window;
        self.judge_trim(reading);
        if reading.resident > self.percent(SHRINK) {
            self.last_short = Some(reading.now_ms);
        }
        let began = self.refuse_or_accept(reading);
        self.window.kept_ms = self.spared_ms(reading);
        if self.shrunk.is_none() && reading.now_ms >= self.pause_until {
            self.resize(reading);
        }
        if self.window.kept_ms == 0 {
            self.window.bytes = self.window.bytes.max(self.share());
        }
        let trim = self.is_trim_due(reading, began);
        if trim {
            self.trimmed = Some(reading.now_ms);
            self.trimmed_at = Some(reading.resident);
            if self.shrunk.take().is_some() {
                self.pause_until = reading.now_ms + PAUSE_MS;
            }
        }
        MemoryAction {
            limit: (self.window != before).then_some(self.window),
            shrinks: self.window.bytes < before.bytes,
            trim,
        }
    }

    /// True if refusing has begun.
    fn refuse_or_accept(&mut self, reading: MemoryReading) -> bool {
        let is_refusing = self.refuses();
        if reading.resident >= self.percent(REFUSE) {
            self.refusing.get_or_insert(reading.now_ms);
        } else if reading.resident < self.percent(ACCEPT) {
            self.refusing = None;
        }
        !is_refusing && self.refuses()
    }

    /// How much of the window is spared. (Nothing only where it is the window that takes the memory: it keeps its share.)
    fn spared_ms(&self, reading: MemoryReading) -> u64 {
        let is_last_resort = match self.window.kept_ms {
            0 => reading.resident >= self.percent(SHRINK),
            _ => {
                reading.resident >= self.percent(LAST_RESORT) && reading.window.bytes > self.share()
            }
        };
        if is_last_resort { 0 } else { SPARED_MS }
    }

    /// In bytes.
    fn share(&self) -> usize {
        bytes(self.max / WINDOW_SHARE)
    }

    fn resize(&mut self, reading: MemoryReading) {
        let MemoryReading {
            now_ms,
            resident,
            window,
        } = reading;
        let is_stuck = (self.refusing).is_some_and(|since| now_ms - since >= REFUSED_MS);
        // Where it is at its minimum, a lower limit would change nothing now, and be too low later.
        let can_shrink = !window.is_at_minimum || self.window.kept_ms == 0;
        if resident > self.percent(SHRINK) && can_shrink {
            let least = if self.window.kept_ms == 0 {
                self.share()
            } else {
                0
            };
            self.shrink(reading, least);
        } else if is_stuck && can_shrink && window.bytes > self.share() {
            self.shrink(reading, self.share());
        } else {
            let is_quiet = (self.last_short).is_none_or(|at| now_ms - at >= QUIET_MS);
            let up_to = self.percent(if is_quiet { GROW_QUIET } else { GROW });
            if resident < up_to {
                // Half of what is free: what the window counts for an entry is less than what the entry may take.
                let free = bytes((up_to - resident) / 2);
                let grown = window.bytes.saturating_add(free).min(self.whole);
                self.window.bytes = self.window.bytes.max(grown);
            }
        }
    }

    fn shrink(&mut self, reading: MemoryReading, least: usize) {
        let excess = bytes(reading.resident.saturating_sub(self.percent(TARGET)));
        let shrunk = reading.window.bytes.saturating_sub(excess).max(least);
        self.last_short = Some(reading.now_ms);
        // Nothing becomes free by a limit that is as it was.
        if shrunk < self.window.bytes {
            self.window.bytes = shrunk;
            self.shrunk = Some(reading.now_ms);
            self.doublings = 0;
        }
    }

    /// What the allocator has returned shows in the reading after it was asked.
    fn judge_trim(&mut self, reading: MemoryReading) {
        let Some(before) = self.trimmed_at.take() else {
            return;
        };
        let returned = before.saturating_sub(reading.resident);
        self.doublings = if returned >= self.percent(RETURNED) {
            0
        } else {
            TRIM_DOUBLINGS.min(self.doublings + 1)
        };
    }

    fn is_trim_due(&self, reading: MemoryReading, began: bool) -> bool {
        let MemoryReading {
            now_ms,
            resident,
            window,
        } = reading;
        if let Some(since) = self.shrunk {
            let is_evicted = window.bytes <= self.window.bytes || window.is_at_minimum;
            return now_ms > since && (is_evicted || now_ms - since >= EVICTION_MS);
        }
        let is_over = |since: Option<u64>, period: u64| {
            since.is_none_or(|at| now_ms - at >= period << self.doublings)
        };
        began
            || self.refuses() && is_over(self.trimmed, TRIM_REFUSING_MS)
            || self.is_limited()
                && resident >= self.percent(GROW)
                && is_over(self.trimmed, TRIM_LIMITED_MS)
    }

    /// Of the limit, in bytes.
    fn percent(&self, percent: u64) -> u64 {
        self.max / 100 * percent
    }
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
