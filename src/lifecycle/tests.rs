use super::*;

const LONG: Duration = Duration::from_secs(20);

async fn run(lifecycle: &Lifecycle, deadline: Duration) -> Result<(), PartFailure> {
    let signals = Signals::install().expect("signals can be caught in tests");
    lifecycle.run(signals, deadline).await
}

#[tokio::test]
async fn an_orderly_stop_waits_for_tasks_and_threads() {
    let lifecycle = Lifecycle::new();
    let ended = Arc::new(Mutex::new(Vec::new()));
    let (seen, token) = (Arc::clone(&ended), lifecycle.stopping());
    lifecycle.critical("task", async move {
        token.cancelled().await;
        seen.lock().unwrap().push("task");
        Ok(())
    });
    let (seen, token) = (Arc::clone(&ended), lifecycle.stopping());
    let handle = tokio::runtime::Handle::current();
    lifecycle
        .thread("thread", move || {
            handle.block_on(token.cancelled());
            seen.lock().unwrap().push("thread");
        })
        .unwrap();
    lifecycle.stop();
    assert_eq!(run(&lifecycle, LONG).await, Ok(()));
    ended.lock().unwrap().sort_unstable();
    assert_eq!(*ended.lock().unwrap(), ["task", "thread"]);
}

#[tokio::test]
async fn a_critical_part_that_ends_fails_or_panics_fails_the_process() {
    type Part = fn() -> anyhow::Result<()>;
    let parts: [(&str, Part); 3] = [
        ("ended unexpectedly", || Ok(())),
        ("no broker: gone", || {
            Err(anyhow::anyhow!("gone").context("no broker"))
        }),
        ("panicked", || panic!("a test's panic")),
    ];
    for (why, part) in parts {
        let failure = PartFailure {
            part: "part",
            why: why.to_owned(),
        };
        let lifecycle = Lifecycle::new();
        lifecycle.critical("part", async move { part() });
        assert_eq!(run(&lifecycle, LONG).await, Err(failure));
    }
}

#[tokio::test]
async fn a_panic_in_an_ordinary_task_does_not_stop_the_process() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn("request", async { panic!("a test's panic") });
    tokio::task::yield_now().await;
    assert!(!lifecycle.stopping().is_cancelled());
    lifecycle.stop();
    assert_eq!(run(&lifecycle, LONG).await, Ok(()));
}

#[tokio::test]
async fn after_the_deadline_the_hard_token_is_cancelled() {
    let lifecycle = Lifecycle::new();
    let token = lifecycle.killed();
    lifecycle.spawn("slow", async move { token.cancelled().await });
    lifecycle.stop();
    assert_eq!(run(&lifecycle, Duration::from_millis(10)).await, Ok(()));
}

#[tokio::test]
async fn a_task_that_never_ends_is_named_and_fails_the_stop() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn("deaf", std::future::pending());
    lifecycle.kill();
    let failure = run(&lifecycle, LONG).await.unwrap_err();
    assert_eq!(failure.to_string(), "shutdown failed: did not end: deaf");
}

#[test]
fn hard_implies_soft() {
    let lifecycle = Lifecycle::new();
    lifecycle.kill();
    assert!(lifecycle.stopping().is_cancelled());
}
