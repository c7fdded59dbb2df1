//! A Redis that refuses some commands, or in which something else than Fleetcast has written.

use super::*;

const SAMPLES: u32 = 60;

impl TestInstance {
    /// How many faults were told.
    fn told(&self) -> u64 {
        let text = self.metrics.render();
        let series = "fleetcast_errors_total{component=\"redis\"} ";
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// A lease that lives, of an instance that is none.
    async fn forge(&self, instance: &str) {
        let (seconds, _): (u64, u64) = self.redis("TIME").await;
        let end = seconds * 1_000 + 8_000;
        self.redis::<()>(&format!("ZADD p:instances {end} {instance}"))
            .await;
    }
}

#[tokio::test]
async fn s4_25_without_memory_an_idle_instance_tells_it_once_and_no_list_is_whole() {
    let redis = TestRedis::start();
    let a = TestInstance::start(&redis, "a", SlotLimits::default()).await;
    let b = TestInstance::start(&redis, "b", SlotLimits::default()).await;
    a.connect("o1", "u1", "c-1");
    b.sees(1).await;
    eventually("all is there", async || b.is_whole().await.then_some(())).await;
    assert_eq!(b.registry.find("c-2").await, Ok(None));

    b.redis::<()>("CONFIG SET maxmemory 1").await;
    eventually("no memory", async || b.registry.fault()).await;
    for _ in 0..SAMPLES {
        assert!(b.registry.fault().is_some());
        assert!(!b.is_whole().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(b.told(), 1);
    assert_eq!(
        b.registry.find("c-2").await,
        Err(RedisFault::NotWhole),
        "perhaps it is there"
    );
    b.redis::<()>("CONFIG SET maxmemory 0").await;
    eventually("all is well", async || b.is_whole().await.then_some(())).await;
    assert_eq!((b.registry.fault(), b.told()), (None, 1));

    // The lease has lapsed without a fault that is known, as where Redis has just lost it.
    b.redis::<()>("ZREM p:instances b").await;
    assert!(!b.is_whole().await);
    eventually("it is back", async || b.is_whole().await.then_some(())).await;
    // Another one says that not all of it is there.
    let (seconds, _): (u64, u64) = b.redis("TIME").await;
    let mark = format!("ZADD p:rewriting {} c", seconds * 1_000 + 8_000);
    b.redis::<()>(&mark).await;
    assert!(!b.is_whole().await);
}

#[tokio::test]
async fn s4_25_after_redis_was_away_lists_are_not_whole_for_some_seconds() {
    let mut redis = TestRedis::start();
    let a = TestInstance::start(&redis, "a", SlotLimits::default()).await;
    let mut states = a.link.state();
    redis.stop();
    states.wait_for(|state| !state.is_up()).await.unwrap();
    redis.start_again();
    states.wait_for(LinkState::is_up).await.unwrap();
    let begin = Instant::now();
    eventually("others had their time", async || {
        a.is_whole().await.then_some(())
    })
    .await;
    let waited = begin.elapsed();
    assert!(waited > Duration::from_millis(4_500), "{waited:?}");
}

#[tokio::test]
async fn s4_05_a_key_that_something_else_has_written_is_written_again() {
    let redis = TestRedis::start();
    let limits = SlotLimits {
        per_user: std::num::NonZeroU32::new(2),
        per_organisation: None,
    };
    let a = TestInstance::start(&redis, "a", limits).await;
    let b = TestInstance::start(&redis, "b", limits).await;
    a.connect("o1", "u1", "c-1");
    a.take("o1", "u1").await.unwrap();
    b.sees(1).await;

    // A member that is no text, and the next connection.
    let mut stray = ::redis::cmd("ZADD");
    stray.arg("p:slots:a").arg(0).arg(&b"o1\0u1\0\xff"[..]);
    b.link.ask::<()>(&stray).await.unwrap();
    a.connect("o1", "u1", "c-2");
    b.sees(2).await;
    eventually("it is gone", async || {
        (a.kept("a").await == 1).then_some(())
    })
    .await;

    for key in [
        "connections:a",
        "order:a",
        "slots:a",
        "instances",
        "rewriting",
    ] {
        b.redis::<()>(&format!("SET p:{key} x")).await;
        if key != "instances" {
            // Limits go on.
            let slot = b.take("o2", "u1").await.unwrap();
            b.registry.release_slot(slot);
            assert_eq!(lock(&b.registry.taking).fault(), None, "{key}");
        }
        eventually(key, async || {
            let part = b.registry.following(RegistryRange::default(), None, 50);
            let part = part.await.ok()?;
            let mut slots = ::redis::cmd("ZCARD");
            slots.arg("p:slots:a");
            let slots: u32 = b.link.ask(&slots).await.ok()?;
            (part.is_whole && part.part.items.len() == 2 && slots == 1).then_some(())
        })
        .await;
        assert_eq!(a.registry.fault(), None, "{key}");
    }
}

#[tokio::test]
async fn s4_05_an_end_that_was_not_written_leaves_no_ghost() {
    let redis = TestRedis::start();
    let a = TestInstance::start(&redis, "a", SlotLimits::default()).await;
    let b = TestInstance::start(&redis, "b", SlotLimits::default()).await;
    a.connect("o1", "u1", "c-1");
    a.connect("o1", "u1", "c-2");
    b.sees(2).await;

    // Too many changes, while they cannot be written.
    b.redis::<()>("ACL SETUSER default -unlink").await;
    let end = |connection: &str| {
        let place = place("o1", "u1", connection);
        a.open.0.lock().unwrap().remove(&place).unwrap();
    };
    end("c-1");
    lock(&a.registry.changed).overflown = true;
    eventually("a fault", async || a.registry.fault()).await;
    for _ in 0..SAMPLES / 3 {
        assert!(a.registry.fault().is_some());
        assert!(lock(&a.registry.changed).overflown);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!b.is_whole().await, "it says so");
    b.redis::<()>("ACL SETUSER default +unlink").await;
    b.sees(1).await;

    // Missed altogether.
    end("c-2");
    b.sees(0).await;
}

#[tokio::test]
async fn s4_05_a_lease_that_ends_too_late_is_none() {
    let redis = TestRedis::start();
    let limits = SlotLimits {
        per_user: std::num::NonZeroU32::new(1),
        per_organisation: None,
    };
    let a = TestInstance::start(&redis, "a", limits).await;
    for (end, ghost) in [("+inf", "g1"), ("99999999999999", "g2")] {
        a.redis::<()>(&format!("ZADD p:instances {end} {ghost}"))
            .await;
        a.redis::<()>(&format!("ZADD p:slots:{ghost} 0 o1\0u1\0{ghost}"))
            .await;
    }
    a.take("o1", "u1").await.unwrap();
    eventually("they have lapsed", async || {
        let lapsed: usize = a.redis("ZCOUNT p:instances 1 9999999999999").await;
        (lapsed == 3).then_some(())
    })
    .await;
    assert!(a.metrics.render().contains("fleetcast_instances 1\n"));
}

#[tokio::test]
async fn s4_05_slots_are_given_back_while_changes_keep_coming() {
    let redis = TestRedis::start();
    let limits = SlotLimits {
        per_user: std::num::NonZeroU32::new(9),
        per_organisation: None,
    };
    let a = TestInstance::start(&redis, "a", limits).await;
    let slot = a.take("o1", "u1").await.unwrap();
    assert_eq!(a.kept("a").await, 1);
    let changes = async {
        loop {
            for number in 0..1_000 {
                a.registry
                    .changed(place("o1", "u2", &format!("c-{number}")));
            }
            tokio::task::yield_now().await;
        }
    };
    let given_back = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        a.registry.release_slot(slot);
        eventually("it is free", async || {
            (a.kept("a").await == 0).then_some(())
        })
        .await;
    };
    tokio::select! {
        () = changes => unreachable!("they never end"),
        () = given_back => {}
    }
}

#[tokio::test]
async fn s4_05_forged_instances_and_records_are_not_listed_and_hold_nothing_up() {
    let redis = TestRedis::start();
    let a = TestInstance::start(&redis, "a", SlotLimits::default()).await;
    let b = TestInstance::start(&redis, "b", SlotLimits::default()).await;
    b.connect("o1", "u1", "c-1");
    a.sees(1).await;
    let record: String = a.redis("HGET p:connections:b c-1").await;
    let other = record.replace("\"o1\"", "\"o2\"");
    let large = record.replace("viewer", &"v".repeat(70_000));
    a.forge("g").await;
    for (connection, record) in [("c-2", &record), ("c-3", &other), ("c-4", &large)] {
        let mut order = ::redis::cmd("ZADD");
        order
            .arg("p:order:g")
            .arg(0)
            .arg(format!("o1\0u1\0{connection}"));
        a.link.ask::<()>(&order).await.unwrap();
        let mut written = ::redis::cmd("HSET");
        written.arg("p:connections:g").arg(connection).arg(record);
        a.link.ask::<()>(&written).await.unwrap();
    }
    let part = a
        .registry
        .following(RegistryRange::default(), None, 50)
        .await;
    let part = part.unwrap().part;
    let ids: Vec<&str> = (part.items.iter())
        .map(|(place, _)| &*place.connection)
        .collect();
    assert_eq!(ids, ["c-1", "c-2"]);
    assert_eq!(a.told(), 2);

    // A page of which nothing can be read is not the end of a list.
    a.redis::<()>("DEL p:order:g").await;
    let mut unreadable = ::redis::cmd("ZADD");
    unreadable.arg("p:order:g");
    for number in 0..100 {
        unreadable.arg(0).arg(format!("none of ours {number}"));
    }
    a.link.ask::<()>(&unreadable).await.unwrap();
    assert!(!a.is_whole().await);
    a.redis::<()>("DEL p:order:g").await;

    let (seconds, _): (u64, u64) = a.redis("TIME").await;
    let mut forged = ::redis::cmd("ZADD");
    forged.arg("p:instances");
    forged.arg(seconds * 1_000 + 8_000).arg(&b"\xff"[..]);
    a.link.ask::<()>(&forged).await.unwrap();
    a.sees(1).await;
    assert!(a.is_whole().await, "only a name that cannot be read");
    for number in 0..1_100 {
        forged
            .arg(seconds * 1_000 + 8_000)
            .arg(format!("f{number}"));
    }
    a.link.ask::<()>(&forged).await.unwrap();
    let fault = eventually("too many", async || a.registry.fault()).await;
    assert!(fault.contains("1104 instances"), "{fault}");
    assert!(!a.is_whole().await);
}

#[tokio::test]
async fn s4_25_a_fault_of_limits_alone_lasts_until_they_can_be_asked_again() {
    let redis = TestRedis::start();
    let limits = SlotLimits {
        per_user: std::num::NonZeroU32::new(9),
        per_organisation: None,
    };
    let a = TestInstance::start(&redis, "a", limits).await;
    eventually("all is there", async || a.is_whole().await.then_some(())).await;
    a.redis::<()>("ACL SETUSER default -zscore").await;
    a.take("o1", "u1").await.unwrap();
    eventually("it is in Redis all the same", async || {
        (a.kept("a").await == 1).then_some(())
    })
    .await;
    eventually("a fault", async || a.registry.fault()).await;
    for _ in 0..SAMPLES / 2 {
        assert!(a.registry.fault().is_some());
        assert!(
            a.metrics
                .render()
                .contains("fleetcast_limits_across_instances 0\n")
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(a.is_whole().await, "lists are not concerned");
    assert_eq!(a.told(), 1);
    a.redis::<()>("ACL SETUSER default +zscore").await;
    eventually("without another connect", async || {
        a.registry.fault().is_none().then_some(())
    })
    .await;
}
