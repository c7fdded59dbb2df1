//! Questions by numbers of ours: when they are over, and how many may be open.

use super::*;

const EVENT: &str = "alert_created";
const TIMEOUT_MS: u64 = 30_000;

/// Asks under this number. False: too many are open.
fn ask(session: &Arc<Session>, number: u32) -> bool {
    let asks = session.expect_ack(number, &EVENT.into(), &format!("alert/0/{number}").into());
    if asks {
        session.ack_asked(EVENT);
    } else {
        session.ack_not_asked(EVENT);
    }
    asks
}

/// Of [`outcomes`]: asked, acknowledged, missing, and not asked because too many were open.
type Outcomes = [u64; 4];

fn outcomes(sessions: &Sessions) -> Outcomes {
    let text = sessions.metrics().render();
    ["asked", "acknowledged", "missing", "not_asked"].map(|outcome| {
        let name = format!("fleetcast_acknowledgements_total{{outcome=\"{outcome}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.expect("declared").parse().expect("a count")
    })
}

#[tokio::test]
async fn answer_counts_once_and_only_under_a_number_that_is_open() {
    let server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    let (other, _) = server.connect(anybody()).await;
    assert!(ask(&client.session, 7) && ask(&client.session, 8));
    other.session.ack_received(7);
    client.session.ack_received(9);
    assert_eq!(outcomes(&server.sessions), [2, 0, 0, 0]);
    for _twice in 0..2 {
        client.session.ack_received(7);
    }
    assert_eq!(outcomes(&server.sessions), [2, 1, 0, 0]);
    // One number for all connections of a fan-out.
    assert!(ask(&client.session, 5) && ask(&other.session, 5));
    other.session.ack_received(5);
    client.session.ack_received(5);
    assert_eq!(outcomes(&server.sessions), [4, 3, 0, 0]);
}

/// An open question would make every POST free, if it paid for more than one acknowledgement.
#[tokio::test]
async fn a29_each_question_pays_for_one_acknowledgement() {
    let server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    let session = &client.session;
    assert_eq!(session.spend_asks(5), 0);
    assert!((0..3).all(|number| ask(session, number)));
    assert_eq!([2, 5, 5].map(|came| session.spend_asks(came)), [2, 1, 0]);
    // What a question has paid for is not given back by its answer.
    session.ack_received(0);
    assert_eq!(session.spend_asks(1), 0);
    assert!(ask(session, 7));
    assert_eq!([1, 1].map(|came| session.spend_asks(came)), [1, 0]);
    // No more is put by than may be open at a time.
    for number in 100..2_100 {
        assert!(ask(session, number));
        session.ack_received(number);
    }
    assert_eq!(session.spend_asks(5_000), 1_000);
}

#[tokio::test]
async fn question_is_missing_after_thirty_seconds_and_a_later_answer_changes_nothing() {
    let server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    let before = clock::monotonic_ms();
    assert!(ask(&client.session, 7) && ask(&client.session, 8));
    client.session.ack_received(8);
    let after = clock::monotonic_ms();
    server.sessions.expire_asks(before + TIMEOUT_MS - 1).await;
    assert_eq!(outcomes(&server.sessions), [2, 1, 0, 0]);
    server.sessions.expire_asks(after + TIMEOUT_MS).await;
    assert_eq!(outcomes(&server.sessions), [2, 1, 1, 0]);
    client.session.ack_received(7);
    server.sessions.expire_asks(after + 2 * TIMEOUT_MS).await;
    assert_eq!(outcomes(&server.sessions), [2, 1, 1, 0]);
    // The session is looked through again when it is asked again.
    assert!(ask(&client.session, 9));
    let later = clock::monotonic_ms() + TIMEOUT_MS;
    server.sessions.expire_asks(later).await;
    assert_eq!(outcomes(&server.sessions), [3, 1, 2, 0]);
}

#[tokio::test]
async fn questions_that_are_open_at_the_end_of_a_connection_are_missing() {
    let server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    let session = client.session.clone();
    for number in 0..5 {
        assert!(ask(&session, number));
    }
    session.ack_received(3);
    client.end();
    assert_eq!(outcomes(&server.sessions), [5, 1, 4, 0]);
    session.ack_received(4);
    let later = clock::monotonic_ms() + TIMEOUT_MS;
    server.sessions.expire_asks(later).await;
    assert_eq!(outcomes(&server.sessions), [5, 1, 4, 0]);
}

#[tokio::test]
async fn thousand_questions_of_one_client_may_be_open_and_each_end_frees_capacity() {
    let server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    let session = &client.session;
    assert_eq!(
        (0..1_010).filter(|number| ask(session, *number)).count(),
        1_000
    );
    assert_eq!(outcomes(&server.sessions), [1_000, 0, 0, 10]);
    session.ack_received(0);
    session.cancel_ack(1);
    // Of those that are not open nothing is freed.
    session.ack_received(0);
    session.cancel_ack(1);
    session.cancel_ack(5_000);
    assert_eq!(
        (2_000..2_010)
            .filter(|number| ask(session, *number))
            .count(),
        2
    );
    let later = clock::monotonic_ms() + TIMEOUT_MS;
    server.sessions.expire_asks(later).await;
    assert_eq!(
        (3_000..4_010)
            .filter(|number| ask(session, *number))
            .count(),
        1_000
    );
}

/// What is offered again and again to a client that is full is not counted each time.
#[tokio::test]
async fn question_that_may_not_be_asked_is_counted_when_the_event_is_on_its_way() {
    let server = TestServer::start(10).await;
    let (client, _) = server.connect(anybody()).await;
    let session = &client.session;
    assert!((0..1_000).all(|number| ask(session, number)));
    for number in 1_000..1_005 {
        assert!(!session.expect_ack(number, &EVENT.into(), &"alert/0/7".into()));
    }
    assert_eq!(outcomes(&server.sessions), [1_000, 0, 0, 0]);
    session.ack_not_asked(EVENT);
    assert_eq!(outcomes(&server.sessions), [1_000, 0, 0, 1]);
}

#[tokio::test]
async fn other_tasks_get_the_thread_while_many_questions_are_given_up() {
    let server = TestServer::start(10).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (client, _) = server.connect(anybody()).await;
        assert!((0..1_000).all(|number| ask(&client.session, number)));
        clients.push(client);
    }
    let later = clock::monotonic_ms() + TIMEOUT_MS;
    let mut given_up = std::pin::pin!(server.sessions.expire_asks(later));
    let mut seen = vec![0];
    while futures_util::poll!(given_up.as_mut()).is_pending() {
        let [_, _, missing, _] = outcomes(&server.sessions);
        seen.push(missing);
    }
    assert_eq!(outcomes(&server.sessions), [3_000, 0, 3_000, 0]);
    let most = seen.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(seen.len() > 10 && most <= Some(256), "{seen:?}");
}

#[tokio::test]
async fn fifty_thousand_questions_of_all_clients_may_be_open() {
    let server = TestServer::start(100).await;
    let mut clients = Vec::new();
    for _ in 0..51 {
        clients.push(server.connect(anybody()).await.0);
    }
    let (last, others) = clients.split_last().expect("there are some");
    for client in others {
        assert!((0..1_000).all(|number| ask(&client.session, number)));
    }
    assert!(!ask(&last.session, 0));
    others[0].session.ack_received(0);
    assert!(ask(&last.session, 0) && !ask(&last.session, 1));
    clients.remove(0).end();
    let last = clients.last().expect("there are some");
    let more = (2..1_100).filter(|number| ask(&last.session, *number));
    assert_eq!(more.count(), 999);
}

#[tokio::test]
async fn numbers_of_questions_are_beyond_those_of_the_library_and_within_an_int() {
    let server = TestServer::start(1).await;
    let [first, second] = [(); 2].map(|()| server.sessions.ask_number());
    assert_eq!(second, first + 1);
    assert!((1_000_000_000..i32::MAX as u32).contains(&first));
}
