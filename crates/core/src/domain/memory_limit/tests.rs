//! The limit against a process whose memory is simulated.

use std::collections::VecDeque;

use super::*;

const MIB: u64 = 1 << 20;
const MAX: u64 = 200 * MIB;
/// Of the window: it does not fit.
const WHOLE: u64 = 256 * MIB;

/// Memory that is freed stays with the process until the allocator is asked, and is used again before that.
struct Process {
    limit: MemoryLimit,
    now_ms: u64,
    /// What is neither window nor free, in bytes.
    base: u64,
    /// When each entry came, and its bytes.
    window: VecDeque<(u64, u64)>,
    free: u64,
    /// What an entry takes in percent of what it counts.
    real: u64,
    step_ms: u64,
    shrinks: usize,
    trims: usize,
}

impl Process {
    fn new(base: u64) -> Self {
        Self {
            limit: MemoryLimit::new(MAX, bytes(WHOLE)),
            now_ms: 1_000_000,
            base,
            window: VecDeque::new(),
            free: 0,
            real: 100,
            step_ms: 1_000,
            shrinks: 0,
            trims: 0,
        }
    }

    fn counted(&self) -> u64 {
        self.window.iter().map(|(_, bytes)| bytes).sum()
    }

    fn resident(&self) -> u64 {
        self.base + self.counted() * self.real / 100 + self.free
    }

    fn percent(&self) -> u64 {
        self.resident() * 100 / MAX
    }

    fn age_ms(&self) -> u64 {
        self.window.front().map_or(0, |(at, _)| self.now_ms - at)
    }

    fn evict(&mut self, is_over: impl Fn(&Self) -> bool) {
        while is_over(self) {
            let (_, bytes) = self.window.pop_front().expect("it is over something");
            self.free += bytes * self.real / 100;
        }
    }

    /// A step in which so many bytes come for the window.
    fn step(&mut self, bytes: u64) -> MemoryAction {
        self.now_ms += self.step_ms;
        if bytes > 0 {
            self.window.push_back((self.now_ms, bytes));
            self.free = self.free.saturating_sub(bytes * self.real / 100);
        }
        self.evict(|it| it.age_ms() > 300_000 || it.counted() > WHOLE);
        let limit = self.limit.window();
        let is_over = |it: &Self| it.counted() > limit.bytes as u64;
        self.evict(|it| is_over(it) && it.age_ms() >= limit.kept_ms);
        let action = self.limit.observe(MemoryReading {
            now_ms: self.now_ms,
            resident: self.resident(),
            window: WindowUse {
                bytes: usize::try_from(self.counted()).unwrap(),
                age_ms: self.age_ms(),
                is_at_minimum: is_over(self),
            },
        });
        if action.trim {
            self.free = 0;
            self.trims += 1;
        }
        self.shrinks += usize::from(action.shrinks);
        action
    }

    fn steps(&mut self, count: u64, bytes: u64) {
        for _ in 0..count {
            self.step(bytes);
        }
    }
}

#[test]
fn connections_are_refused_from_85_percent_until_it_is_less_than_82() {
    let mut process = Process::new(0);
    for (percent, refused) in [
        (84, false),
        (85, true),
        (84, true),
        (82, true),
        (81, false),
        (84, false),
        (90, true),
        (30, false),
    ] {
        process.base = MAX / 100 * percent;
        let action = process.step(0);
        assert_eq!(process.limit.refuses(), refused, "{percent} %");
        assert_eq!(action.limit, None, "{percent} %");
    }
}

#[test]
fn window_shrinks_by_the_excess_then_the_allocator_is_asked_then_nothing_for_5_s() {
    let mut process = Process::new(60 * MIB);
    process.steps(24, 5 * MIB);
    assert_eq!((process.percent(), process.shrinks), (90, 0));
    let action = process.step(5 * MIB);
    assert_eq!(process.percent(), 92);
    // 185 MiB are taken, 29 of them over 78 %.
    let limit = action.limit.expect("it is shortened");
    assert_eq!(limit.bytes as u64 / MIB, 96);
    assert!(action.shrinks && !action.trim && limit.kept_ms == SPARED_MS);
    let action = process.step(0);
    assert_eq!((action.trim, process.percent()), (true, 77));
    // Something else takes the memory.
    process.base = 90 * MIB;
    for second in 1..5 {
        assert_eq!(process.step(0).limit, None, "{second} s");
        assert!(process.percent() > 90);
    }
    assert!(process.step(0).shrinks);
}

#[test]
fn a_window_that_would_not_fit_settles_below_what_refuses_connections() {
    for real in [100, 130, 180] {
        let mut process = Process::new(50 * MIB);
        process.real = real;
        process.steps(120, MIB);
        let (mut refused, shrinks) = (0, process.shrinks);
        for _ in 0..1_200 {
            process.step(MIB);
            refused += usize::from(process.limit.refuses());
            assert!(process.percent() < 100, "{real}");
            assert!(process.age_ms() > 40_000, "{real}: {} ms", process.age_ms());
        }
        let more = process.shrinks - shrinks;
        assert!(refused <= 20 && more <= 2, "{real}: {refused} s, {more}");
        assert!((70..85).contains(&process.percent()), "{real}");
    }
}

#[test]
fn window_grows_back_once_there_is_memory_and_does_not_go_to_and_fro() {
    let mut process = Process::new(70 * MIB);
    process.limit = MemoryLimit::new(MAX, bytes(60 * MIB));
    process.real = 130;
    // 60 MiB for 300 s would be 78 with what they cost.
    process.steps(400, MIB / 5);
    assert!(!process.limit.is_limited());
    process.base = 110 * MIB;
    process.steps(60, MIB / 5);
    let short = process.age_ms();
    assert!(process.limit.is_limited() && short < 200_000, "{short} ms");
    // Some of it is free again.
    process.base = 95 * MIB;
    let shrinks = process.shrinks;
    process.steps(600, MIB / 5);
    assert!(process.limit.is_limited() && process.age_ms() > short);
    assert!((72..=80).contains(&process.percent()));
    process.base = 60 * MIB;
    process.steps(600, MIB / 5);
    assert!(!process.limit.is_limited());
    assert!(process.age_ms() > 295_000);
    assert_eq!(process.shrinks, shrinks);
}

/// Of the connections, say: they alone take more than 75 %.
#[test]
fn a90_window_that_a_short_burst_has_cost_comes_back_minutes_later() {
    for real in [100, 130, 180] {
        let mut process = Process::new(152 * MIB);
        process.real = real;
        process.steps(160, MIB * 10 / real);
        assert_eq!((process.percent(), process.shrinks), (83, 0), "{real}");
        process.base += 16 * MIB;
        process.steps(3, MIB * 10 / real);
        process.base -= 16 * MIB;
        assert_eq!((process.limit.window().bytes, process.shrinks), (0, 1));
        // As long as it may happen again.
        process.steps(240, MIB * 10 / real);
        assert!((9_000..12_000).contains(&process.age_ms()));
        for _ in 0..3_600 {
            process.step(MIB * 10 / real);
            assert!(!process.limit.refuses() && process.percent() < 82, "{real}");
        }
        assert_eq!(process.shrinks, 1, "{real}");
        assert!(process.age_ms() > 60_000, "{real}: {} ms", process.age_ms());
    }
}

#[test]
fn ten_seconds_are_spared_while_something_else_takes_the_memory() {
    let mut process = Process::new(60 * MIB);
    process.steps(120, MIB / 2);
    let taken = MAX / 100 * 90 - 4 * MIB;
    let mut at_minimum = 0;
    for _ in 0..120 {
        process.base = taken.min(process.base + 4 * MIB);
        process.step(MIB / 2);
        // The next entry would be as old as that.
        assert!(process.age_ms() >= SPARED_MS - 1_000);
        let window = WindowUse {
            bytes: 0,
            age_ms: process.age_ms(),
            is_at_minimum: false,
        };
        at_minimum += usize::from(process.limit.is_at_minimum(window));
    }
    assert!(process.limit.refuses());
    assert!(at_minimum > 40, "{at_minimum}");
    process.base = 60 * MIB;
    process.steps(60, MIB / 2);
    assert!(!process.limit.refuses());
    assert!(process.age_ms() > 55_000, "{}", process.age_ms());
}

#[test]
fn a_flood_that_fills_the_memory_within_10_s_is_not_spared() {
    for mib in [12, 20, 60, 120] {
        let mut process = Process::new(60 * MIB);
        process.step_ms = 200;
        for _ in 0..300 {
            process.step(mib * MIB / 5);
            // What the container may take is a third more.
            assert!(process.percent() < 120, "{mib}: {} %", process.percent());
        }
        let limit = process.limit.window();
        assert!(limit.bytes as u64 > 40 * MIB, "{mib}: {limit:?}");
        process.steps(600, MIB / 50);
        assert_eq!(process.limit.window().kept_ms, SPARED_MS, "{mib}");
        assert!(!process.limit.refuses(), "{mib}");
    }
}

/// As the settings would have it, and on all instances alike.
#[test]
fn connections_are_not_refused_for_good_because_of_the_window() {
    let full = |base: u64, window: u64| {
        let mut process = Process::new(base);
        let mut later = process.now_ms;
        process.window.extend((0..100).map(|_| {
            later += 1;
            (later, window / 100)
        }));
        process.steps(1, 0);
        assert_eq!(process.percent(), 87);
        assert!(process.limit.refuses());
        process.steps(15, 0);
        assert_eq!(process.shrinks, 0, "history comes before new connections");
        process.steps(20, 0);
        process
    };
    let process = full(54 * MIB, 121 * MIB);
    assert_eq!(process.shrinks, 1);
    assert!((76..=78).contains(&process.percent()));
    assert!(!process.limit.refuses());
    // It is not the window.
    let process = full(135 * MIB, 40 * MIB);
    assert_eq!((process.shrinks, process.percent()), (0, 87));
    assert!(process.limit.refuses());
}

#[test]
fn memory_that_lies_free_is_returned_before_anything_is_shortened() {
    let mut process = Process::new(60 * MIB);
    process.step(20 * MIB);
    process.free = 94 * MIB;
    process.step(0);
    assert_eq!(process.percent(), 40, "it was 87");
    process.step(0);
    assert!(!process.limit.refuses() && process.shrinks == 0);
}

#[test]
fn allocator_is_asked_less_and_less_often_while_it_returns_nothing() {
    // Of the limit, taken by connections; of the window, limited before that.
    for (percent, limit, longest) in [(87, None, 80), (92, None, 80), (77, Some(0), 240)] {
        let mut process = Process::new(MAX / 100 * percent);
        if let Some(bytes) = limit {
            process.limit.window.bytes = bytes;
            process.limit.last_short = Some(process.now_ms);
        }
        process.steps(600, 0);
        process.trims = 0;
        let hour = 3_600;
        process.steps(hour, 0);
        let most = usize::try_from(hour / longest).unwrap() + 1;
        assert!(
            (1..=most).contains(&process.trims),
            "{percent}: {}",
            process.trims
        );
        assert!(process.shrinks <= 1, "{percent}: {}", process.shrinks);
    }
}

#[test]
fn allocator_is_asked_often_again_once_it_has_returned_something() {
    let mut process = Process::new(MAX / 100 * 89);
    process.steps(600, 0);
    // Connections end.
    process.base -= 4 * MIB;
    process.free += 4 * MIB;
    process.steps(81, 0);
    assert_eq!(process.free, 0);
    process.trims = 0;
    process.base -= 4 * MIB;
    process.free += 4 * MIB;
    process.steps(10, 0);
    assert_eq!((process.free, process.percent()), (0, 85));
}
