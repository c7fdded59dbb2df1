//! What the nemesis does to the Redis that the servers share.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::nemesis::{World, wait};
use super::redis::Redis;

/// Servers use a Redis that is back within it.
const HEALED: Duration = Duration::from_secs(5);

/// More than one channel may take.
const LARGE: usize = 10 * 1024 * 1024;

type Act = fn(&mut Redis) -> Result<()>;

/// A way in which Redis fails: its name, how often its time is that of the others, its begin and its end.
struct Outage(&'static str, u32, Act, Act);

const OUTAGES: [Outage; 6] = [
    Outage("Redis killed", 3, Redis::kill, Redis::launch),
    Outage(
        "Redis paused",
        1,
        |redis| redis.signal("STOP"),
        |redis| redis.signal("CONT"),
    ),
    Outage("Redis restarted empty", 0, Redis::kill, Redis::launch),
    Outage(
        "Redis takes no writes (a replica)",
        1,
        |redis| redis.command(&["REPLICAOF", "127.0.0.1"], b"1"),
        |redis| redis.command(&["REPLICAOF", "NO"], b"ONE"),
    ),
    Outage(
        "Redis is out of memory",
        1,
        |redis| redis.command(&["CONFIG", "SET", "maxmemory"], b"1"),
        |redis| redis.command(&["CONFIG", "SET", "maxmemory"], b"0"),
    ),
    Outage(
        "Redis answers after 5 s",
        0,
        |redis| redis.command(&["CLIENT", "PAUSE"], b"5000"),
        |_| {
            wait(5);
            Ok(())
        },
    ),
];

impl World<'_> {
    pub(super) fn redis_outages(&mut self) -> Result<()> {
        let mut redis = self.redis.take().context("this scenario has no Redis")?;
        let seconds = self.form.pick(4, 60);
        for Outage(name, times, begin, end) in OUTAGES {
            let lasts = seconds * u64::from(times);
            if !self.has(lasts + 8) {
                self.note("no time for the rest");
                break;
            }
            self.begin(name);
            begin(&mut redis)?;
            wait(lasts);
            end(&mut redis)?;
            self.heal();
        }
        self.strangers(&redis)?;
        self.cut_off(&redis, seconds)?;
        self.redis = Some(redis);
        Ok(())
    }

    /// Messages that are none of ours, and one that is too large.
    fn strangers(&mut self, redis: &Redis) -> Result<()> {
        self.begin("foreign messages");
        let control = ["PUBLISH", "fleetcast:control"];
        redis.command(&control, b"")?;
        redis.command(&control, b"\x93\xa7emitter\x83\xa4type\x02")?;
        redis.command(&control, &vec![0xff; LARGE])?;
        self.heal();
        Ok(())
    }

    /// As behind a cable that was pulled out.
    fn cut_off(&mut self, redis: &Redis, seconds: u64) -> Result<()> {
        let Some(namespace) = redis.namespace() else {
            self.note("skipped: Redis cut off silently (the long form, as root, with iproute2 and nftables)");
            return Ok(());
        };
        self.begin("Redis cut off silently");
        namespace.cut()?;
        wait(seconds);
        namespace.mend()?;
        self.heal();
        Ok(())
    }

    /// The end of an outage: every server must use Redis again.
    fn heal(&mut self) {
        let begin = Instant::now();
        #[expect(clippy::cast_precision_loss, reason = "a few servers")]
        let all = self.fleet.instances.len() as f64;
        let mut healed = false;
        while !healed && begin.elapsed() < HEALED * 2 {
            std::thread::sleep(Duration::from_millis(20));
            healed = self.fleet.metric("fleetcast_redis_up") >= all;
        }
        let took = begin.elapsed();
        self.end();
        self.note(&format!(
            "Redis is used again after {} ms",
            took.as_millis()
        ));
        if took > HEALED {
            self.complaints.push(format!(
                "Redis was not used by all servers {} ms after it was back; 5 s are promised",
                took.as_millis()
            ));
        }
        wait(self.form.pick(2, 15));
    }
}
