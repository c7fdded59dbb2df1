//! Against a real Redis: several instances in one process, each with a connection of its own.

mod faults;
mod redis;
mod slots;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetcast_core::domain::id::{Id, UserId};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::redis::{TestRedis, eventually};
use super::*;
use crate::bus::link::{Link, LinkState};

/// What is open on an instance.
#[derive(Default)]
struct FakeConnections(Mutex<BTreeMap<RegistryPlace, RegistryRecord>>);

impl OpenConnections for FakeConnections {
    fn following(
        &self,
        after: Option<&RegistryPlace>,
    ) -> SortedPart<RegistryPlace, RegistryRecord> {
        let open = self.0.lock().unwrap();
        let following = open.iter().filter(|(place, _)| Some(*place) > after);
        let items = following
            .take(64)
            .map(|(place, record)| (place.clone(), record.clone()));
        let items: Vec<_> = items.collect();
        let up_to = items.get(63).map(|(last, _)| last.clone());
        SortedPart { items, up_to }
    }

    fn records(&self, places: &[RegistryPlace]) -> Vec<Option<RegistryRecord>> {
        let open = self.0.lock().unwrap();
        places
            .iter()
            .map(|place| open.get(place).cloned())
            .collect()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

struct TestInstance {
    registry: Arc<Registry>,
    link: Arc<Link>,
    open: Arc<FakeConnections>,
    metrics: Metrics,
    stop: CancellationToken,
    _guards: [DropGuard; 2],
}

impl TestInstance {
    async fn start(redis: &TestRedis, name: &str, limits: SlotLimits) -> Self {
        let metrics = Metrics::new();
        let (link, guard) = redis.link(&metrics);
        let registry = Registry::new(link.clone(), "p", name, limits, &metrics);
        let (open, stop) = (Arc::<FakeConnections>::default(), CancellationToken::new());
        TaskTracker::new().spawn(registry.clone().keep(open.clone(), stop.clone()));
        let instance = Self {
            _guards: [guard, stop.clone().drop_guard()],
            registry,
            link,
            open,
            metrics,
            stop,
        };
        let mut states = instance.link.state();
        states.wait_for(LinkState::is_up).await.unwrap();
        instance
    }

    fn connect(&self, organisation: &str, user: &str, connection: &str) {
        let place = place(organisation, user, connection);
        let record = RegistryRecord {
            instance: "test".to_owned(),
            organisation: organisation.to_owned(),
            user: user.to_owned(),
            roles: vec!["viewer".to_owned()],
            transport: "websocket".to_owned(),
            namespace: "/".to_owned(),
            rooms: 1,
            room_names: vec![format!("org:{organisation}")],
            connected_at: "1970-01-01T00:00:00.000Z".to_owned(),
            address: None,
            client: None,
            lagging: false,
            expires_at: "1970-01-01T00:00:01.000Z".to_owned(),
        };
        self.open.0.lock().unwrap().insert(place.clone(), record);
        self.registry.changed(place);
    }

    fn disconnect(&self, organisation: &str, user: &str, connection: &str) {
        let place = place(organisation, user, connection);
        self.open.0.lock().unwrap().remove(&place).unwrap();
        self.registry.changed(place);
    }

    /// All connections of the others, page by page.
    async fn others(&self, range: RegistryRange<'_>) -> Vec<(String, String)> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let part = self
                .registry
                .following(range, after.as_ref(), 50)
                .await
                .unwrap()
                .part;
            let named = |(place, remote): (RegistryPlace, RemoteConnection)| {
                assert_eq!(remote.record.place(&place.connection), Some(place.clone()));
                (place.member().replace('\0', " "), remote.instance)
            };
            all.extend(part.items.into_iter().map(named));
            after = part.up_to;
            if after.is_none() {
                return all;
            }
        }
    }

    async fn sees(&self, count: usize) {
        eventually(&format!("{count} connections"), async || {
            let others = self.others(RegistryRange::default()).await;
            (others.len() == count).then_some(())
        })
        .await;
    }

    async fn redis<T: ::redis::FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut asked = ::redis::cmd(words.next().unwrap());
        asked.arg(words.collect::<Vec<_>>());
        self.link.ask(&asked).await.unwrap()
    }

    /// Whether it knows of all that there is elsewhere.
    async fn is_whole(&self) -> bool {
        let range = RegistryRange::default();
        let part = self.registry.following(range, None, 50).await;
        part.is_ok_and(|part| part.is_whole)
    }

    /// As if the lease of an instance had ended so many milliseconds ago.
    async fn lapse(&self, instance: &str, ago: u64) {
        let (seconds, _): (u64, u64) = self.redis("TIME").await;
        let end = seconds * 1_000 - ago;
        self.redis::<()>(&format!("ZADD p:instances {end} {instance}"))
            .await;
    }
}

fn place(organisation: &str, user: &str, connection: &str) -> RegistryPlace {
    RegistryPlace {
        organisation: Id::parse(organisation).unwrap(),
        user: UserId::parse(user).unwrap(),
        connection: connection.into(),
    }
}

#[tokio::test]
async fn s4_05_each_instance_sees_the_connections_of_the_others_once_and_in_order() {
    let redis = TestRedis::start();
    let a = TestInstance::start(&redis, "a", SlotLimits::default()).await;
    let b = TestInstance::start(&redis, "b", SlotLimits::default()).await;
    let c = TestInstance::start(&redis, "c", SlotLimits::default()).await;
    let mut expected = Vec::new();
    for number in 0..400 {
        let (organisation, user) = (format!("o{}", number % 3), format!("u{}", number % 7));
        let connection = format!("c-{number:016x}");
        let (instance, name) = if number % 4 == 0 {
            (&a, "a")
        } else {
            (&b, "b")
        };
        instance.connect(&organisation, &user, &connection);
        expected.push((
            format!("{organisation} {user} {connection}"),
            name.to_owned(),
        ));
    }
    expected.sort();
    c.sees(400).await;
    assert_eq!(c.others(RegistryRange::default()).await, expected);
    let (o1, u3) = (Id::parse("o1").unwrap(), UserId::parse("u3").unwrap());
    for (user, begin) in [(None, "o1 "), (Some(&u3), "o1 u3 ")] {
        let range = RegistryRange {
            organisation: Some(&o1),
            user,
        };
        let mut within = expected.clone();
        within.retain(|(place, _)| place.starts_with(begin));
        assert_eq!(c.others(range).await, within);
    }
    let (at, found) = c
        .registry
        .find("c-0000000000000004")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((at.user.as_str(), found.instance.as_str()), ("u4", "a"));
    assert_eq!(
        a.registry.find("c-0000000000000004").await,
        Ok(None),
        "its own"
    );

    a.disconnect("o1", "u4", "c-0000000000000004");
    c.sees(399).await;
    assert_eq!(c.registry.find("c-0000000000000004").await, Ok(None));

    // What changes of a connection that stays is found by the walk.
    let begin = Instant::now();
    for record in a.open.0.lock().unwrap().values_mut() {
        record.rooms = 2;
    }
    eventually("the new number of rooms", async || {
        let found = c.registry.find("c-0000000000000000").await.unwrap();
        (found.unwrap().1.record.rooms == 2).then_some(())
    })
    .await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );

    a.stop.cancel();
    a.registry.leave().await;
    c.sees(300).await;
    assert_eq!(
        c.redis::<usize>("EXISTS p:connections:a p:order:a").await,
        0
    );
}

#[tokio::test]
async fn s4_05_what_redis_has_lost_is_written_again() {
    let mut redis = TestRedis::start();
    let a = TestInstance::start(&redis, "a", SlotLimits::default()).await;
    let b = TestInstance::start(&redis, "b", SlotLimits::default()).await;
    for number in 0..1_000 {
        a.connect("o1", "u1", &format!("c-{number:016x}"));
    }
    b.sees(1_000).await;

    // Without a new connection.
    b.redis::<()>("FLUSHALL").await;
    b.sees(1_000).await;
    b.redis::<()>("DEL p:order:a").await;
    b.sees(1_000).await;

    redis.stop();
    a.disconnect("o1", "u1", "c-0000000000000000");
    let mut states = b.link.state();
    states.wait_for(|state| !state.is_up()).await.unwrap();
    assert!(b.registry.find("c-0000000000000001").await.is_err());
    redis.start_again();
    states.wait_for(LinkState::is_up).await.unwrap();
    let begin = Instant::now();
    eventually("all that are open", async || {
        let others = b
            .registry
            .following(RegistryRange::default(), None, 2_000)
            .await;
        (others.ok()?.part.items.len() == 999).then_some(())
    })
    .await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn s4_05_what_has_lapsed_is_not_listed_and_is_reaped_after_a_minute() {
    let redis = TestRedis::start();
    let a = TestInstance::start(&redis, "a", SlotLimits::default()).await;
    let b = TestInstance::start(&redis, "b", SlotLimits::default()).await;
    a.connect("o1", "u1", "c-1");
    b.sees(1).await;
    let expiry: u64 = b.redis("PTTL p:connections:a").await;
    assert!((60_000..=70_000).contains(&expiry), "{expiry}");
    a.stop.cancel();
    // A renewal that was under way.
    tokio::time::sleep(Duration::from_millis(300)).await;
    b.lapse("a", 1_000).await;
    assert_eq!(b.others(RegistryRange::default()).await, []);
    assert_eq!(b.registry.find("c-1").await, Ok(None));
    b.lapse("a", 50_000).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(
        b.redis::<usize>("EXISTS p:connections:a p:order:a").await,
        2,
        "kept for a minute"
    );
    b.lapse("a", 61_000).await;
    eventually("the keys are gone", async || {
        let keys: usize = b.redis("EXISTS p:connections:a p:order:a").await;
        let leases: usize = b.redis("ZCARD p:instances").await;
        (keys == 0 && leases == 1).then_some(())
    })
    .await;

    // It was only paused: it comes back with all that it has.
    TaskTracker::new().spawn(
        a.registry
            .clone()
            .keep(a.open.clone(), CancellationToken::new()),
    );
    b.sees(1).await;
}

#[tokio::test]
async fn s4_25_a_redis_that_takes_no_writes_is_reported_and_followed() {
    let redis = TestRedis::start();
    let a = TestInstance::start(&redis, "a", SlotLimits::default()).await;
    let b = TestInstance::start(&redis, "b", SlotLimits::default()).await;
    a.connect("o1", "u1", "c-1");
    b.sees(1).await;
    assert_eq!(a.registry.fault(), None);

    let server = redis.client();
    let mut operator = server.get_multiplexed_async_connection().await.unwrap();
    let mut replicate = ::redis::cmd("REPLICAOF");
    replicate.arg("127.0.0.1").arg(1);
    replicate.query_async::<()>(&mut operator).await.unwrap();
    eventually("a replica is no Redis to write to", async || {
        let state = a.link.state().borrow().clone();
        (state == LinkState::Down(RedisFault::Replica)).then_some(())
    })
    .await;
    let mut promote = ::redis::cmd("REPLICAOF");
    promote.arg("NO").arg("ONE");
    promote.query_async::<()>(&mut operator).await.unwrap();
    eventually("all is well", async || {
        (a.link.is_up() && b.link.is_up() && a.registry.fault().is_none()).then_some(())
    })
    .await;

    b.redis::<()>("CONFIG SET maxmemory 1").await;
    let full = eventually("no memory", async || a.registry.fault()).await;
    assert!(full.contains("OOM") || full.contains("memory"), "{full}");
    a.connect("o1", "u1", "c-2");
    eventually("the metric says so", async || {
        a.metrics
            .render()
            .contains("fleetcast_limits_across_instances 0")
            .then_some(())
    })
    .await;
    b.redis::<()>("CONFIG SET maxmemory 0").await;
    b.sees(2).await;
    eventually("all is well", async || {
        a.metrics
            .render()
            .contains("fleetcast_limits_across_instances 1")
            .then_some(())
    })
    .await;
    assert_eq!(a.registry.fault(), None);
}
