//! Limits over several instances.

use super::*;
use crate::telemetry::labels::RejectReason;

fn limits(per_user: u32, per_organisation: u32) -> SlotLimits {
    SlotLimits {
        per_user: std::num::NonZeroU32::new(per_user),
        per_organisation: std::num::NonZeroU32::new(per_organisation),
    }
}

impl TestInstance {
    pub(super) async fn take(&self, organisation: &str, user: &str) -> Result<u64, RejectReason> {
        let (organisation, user) = (
            Id::parse(organisation).unwrap(),
            UserId::parse(user).unwrap(),
        );
        let slot = self.registry.new_slot(&organisation, &user);
        let taken = self.registry.take_slot(slot).await;
        if taken.is_err() {
            self.registry.release_slot(slot);
        }
        taken.map(|()| slot)
    }

    pub(super) async fn kept(&self, instance: &str) -> usize {
        self.redis(&format!("ZCARD p:slots:{instance}")).await
    }
}

#[tokio::test]
async fn s4_05_a_limit_holds_over_all_instances_under_a_storm() {
    let redis = TestRedis::start();
    let all = limits(20, 30);
    let instances = [
        TestInstance::start(&redis, "a", all).await,
        TestInstance::start(&redis, "b", all).await,
        TestInstance::start(&redis, "c", all).await,
    ];
    let storm = |user: &'static str| {
        let instances = &instances;
        let asked = (0..120).map(move |number| instances[number % 3].take("o1", user));
        futures_util::future::join_all(asked)
    };
    let first = storm("u1").await;
    let taken: Vec<u64> = first.iter().filter_map(|taken| taken.ok()).collect();
    assert_eq!(taken.len(), 20);
    assert!(
        first
            .iter()
            .all(|taken| !matches!(taken, Err(reason) if *reason != RejectReason::UserLimit))
    );
    let second = storm("u2").await;
    let taken_too: Vec<u64> = second.iter().filter_map(|taken| taken.ok()).collect();
    assert_eq!(taken_too.len(), 10, "its organisation has 30");
    assert!(second.contains(&Err(RejectReason::OrganisationLimit)));
    assert!(instances[0].take("o2", "u1").await.is_ok(), "another one");

    for slot in taken {
        for instance in &instances {
            instance.registry.release_slot(slot);
        }
    }
    eventually("they are given back", async || {
        let mut kept = 0;
        for name in ["a", "b", "c"] {
            kept += instances[0].kept(name).await;
        }
        (kept == 11).then_some(())
    })
    .await;
    let third = storm("u1").await;
    assert_eq!(third.iter().flatten().count(), 20);
}

/// Whatever becomes of the connect that asked.
#[tokio::test]
async fn s4_05_a_slot_whose_connect_was_cancelled_is_given_back() {
    let redis = TestRedis::start();
    let a = TestInstance::start(&redis, "a", limits(5, 5)).await;
    let (organisation, user) = (Id::parse("o1").unwrap(), UserId::parse("u1").unwrap());
    // The first one has Redis learn the script.
    let slot = a.take("o1", "u1").await.unwrap();
    a.registry.release_slot(slot);
    let (mut unasked, mut asked, mut answered) = (0, 0, 0);
    for round in 0..60 {
        let slot = a.registry.new_slot(&organisation, &user);
        let mut taking = Box::pin(a.registry.take_slot(slot));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        // Cancelled before it is sent, before it is answered, or after that.
        let polls = round % 3;
        let mut is_done = false;
        for _ in 0..polls {
            is_done = is_done || taking.as_mut().poll(&mut context).is_ready();
            tokio::time::sleep(Duration::from_millis(3 * (polls - 1))).await;
        }
        match (polls, is_done) {
            (0, _) => unasked += 1,
            (_, false) => asked += 1,
            (_, true) => answered += 1,
        }
        drop(taking);
        a.registry.release_slot(slot);
    }
    assert_eq!(unasked, 20);
    assert!(asked > 0 && answered > 0, "{asked} {answered}");
    let begin = Instant::now();
    eventually("nothing is left", async || {
        (a.kept("a").await == 0).then_some(())
    })
    .await;
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "not by a look at all slots"
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(a.kept("a").await, 0);
    for _ in 0..5 {
        a.take("o1", "u1").await.unwrap();
    }
}

#[tokio::test]
async fn s4_25_without_redis_limits_hold_for_each_instance_and_later_for_all_again() {
    let mut redis = TestRedis::start();
    let a = TestInstance::start(&redis, "a", limits(2, 9)).await;
    let b = TestInstance::start(&redis, "b", limits(2, 9)).await;
    let gauge = async |value: u32| {
        let line = format!("fleetcast_limits_across_instances {value}\n");
        eventually(&line, async || {
            a.metrics.render().contains(&line).then_some(())
        })
        .await;
    };
    gauge(1).await;
    a.take("o1", "u1").await.unwrap();
    redis.stop();
    gauge(0).await;
    b.take("o1", "u1").await.unwrap();
    b.take("o1", "u1").await.unwrap();
    redis.start_again();
    gauge(1).await;
    eventually("what was taken without Redis is in it", async || {
        (b.link.is_up() && a.kept("a").await == 1 && a.kept("b").await == 2).then_some(())
    })
    .await;
    assert_eq!(a.take("o1", "u1").await, Err(RejectReason::UserLimit));

    // What is not held any more, such as of an earlier life of the instance, does not count for long.
    for number in 0..600 {
        a.redis::<()>(&format!("ZADD p:slots:a 0 o1\0u2\0{number:016x}"))
            .await;
    }
    assert_eq!(b.take("o1", "u2").await, Err(RejectReason::UserLimit));
    eventually("it is found", async || {
        (a.kept("a").await == 1).then_some(())
    })
    .await;
    b.take("o1", "u2").await.unwrap();

    // An instance that has lapsed does not count.
    assert_eq!(b.take("o1", "u1").await, Err(RejectReason::UserLimit));
    b.registry.release_slot(0);
    a.stop.cancel();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let c = TestInstance::start(&redis, "c", limits(4, 9)).await;
    c.take("o1", "u1").await.unwrap();
    assert_eq!(
        c.take("o1", "u1").await,
        Err(RejectReason::UserLimit),
        "1 + 2 + 1"
    );
    c.lapse("a", 1_000).await;
    c.take("o1", "u1").await.unwrap();
    assert_eq!(
        c.take("o1", "u1").await,
        Err(RejectReason::UserLimit),
        "2 + 2"
    );
}
