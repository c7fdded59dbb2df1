use metrics::Gauge;

use super::*;

fn answer(body: &'static str) -> PollAnswer {
    PollAnswer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: Bytes::from_static(body.as_bytes()),
    }
}

fn kept(max_bytes: usize) -> Arc<KeptAnswers> {
    KeptAnswers::new(max_bytes, Gauge::noop())
}

fn ask(answers: &Arc<LastAnswer>, mark: Option<&str>) -> (PendingAnswer, Waiter) {
    match answers.next(mark) {
        NextPoll::Ask(pending, waiter) => (pending, waiter),
        _ => panic!("{mark:?}: the library is not asked"),
    }
}

fn body(waiter: &Waiter) -> Option<(Bytes, bool)> {
    match waiter.take() {
        Some(Waited::Answer { answer, first }) => Some((answer.body, first)),
        _ => None,
    }
}

#[test]
fn answer_is_repeated_for_the_same_mark_only() {
    let answers = LastAnswer::new(kept(100), Gauge::noop());
    let (pending, waiter) = ask(&answers, Some("a"));
    assert!(waiter.take().is_none(), "it is held");
    pending.finish(answer("4one"));
    assert_eq!(body(&waiter), Some(("4one".into(), true)));
    drop(waiter);
    assert!(matches!(answers.next(Some("a")), NextPoll::Repeat(it) if it == answer("4one")));
    let (pending, waiter) = ask(&answers, Some("b"));
    assert!(matches!(answers.next(Some("a")), NextPoll::Overlap));
    assert!(matches!(answers.next(None), NextPoll::Overlap));
    pending.finish(answer("4two"));
    // It has not been handed over yet.
    assert!(matches!(answers.next(Some("c")), NextPoll::Overlap));
    assert_eq!(body(&waiter), Some(("4two".into(), true)));
    drop(waiter);
    // Nothing tells a repeat without a mark.
    let (pending, waiter) = ask(&answers, None);
    pending.finish(answer("4three"));
    assert_eq!(body(&waiter), Some(("4three".into(), true)));
    drop(waiter);
    drop(ask(&answers, None));
}

#[test]
fn the_request_that_repeats_gets_the_answer_of_a_held_poll() {
    let answers = LastAnswer::new(kept(100), Gauge::noop());
    let (pending, first) = ask(&answers, Some("a"));
    let NextPoll::TakeOver {
        waiter: second,
        waited: true,
    } = answers.next(Some("a"))
    else {
        panic!("it is not taken over");
    };
    assert!(matches!(first.take(), Some(Waited::TakenOver)));
    drop(first);
    pending.finish(answer("4one"));
    let NextPoll::TakeOver {
        waiter: third,
        waited: true,
    } = answers.next(Some("a"))
    else {
        panic!("the answer is there, and the second request has not taken it");
    };
    assert!(matches!(second.take(), Some(Waited::TakenOver)));
    drop(second);
    assert_eq!(body(&third), Some(("4one".into(), true)));
}

#[test]
fn the_oldest_answer_is_evicted_and_its_repeat_recognised() {
    let list = kept(10);
    let sessions = [(); 3].map(|()| LastAnswer::new(list.clone(), Gauge::noop()));
    for answers in &sessions {
        let (pending, waiter) = ask(answers, Some("a"));
        pending.finish(answer("4four"));
        assert!(body(&waiter).is_some());
    }
    assert!(matches!(sessions[0].next(Some("a")), NextPoll::Evicted));
    assert!(matches!(sessions[1].next(Some("a")), NextPoll::Repeat(_)));
    assert!(matches!(sessions[2].next(Some("a")), NextPoll::Repeat(_)));
    drop(ask(&sessions[0], Some("b")));
    // Its answer is larger than all that may be kept, and no request has got it: every poll misses it.
    let (pending, waiter) = ask(&sessions[1], Some("b"));
    drop(waiter);
    pending.finish(answer("4larger than ten"));
    assert!(matches!(sessions[1].next(Some("c")), NextPoll::Evicted));
}

#[test]
fn close_reports_messages_that_no_request_got() {
    for (body, handed_over, lost) in [
        ("42[\"a\"]", false, true),
        ("2\u{1e}42[\"a\"]", false, true),
        ("6", false, false),
        ("2", false, false),
        ("42[\"a\"]", true, false),
    ] {
        let answers = LastAnswer::new(kept(100), Gauge::noop());
        let (pending, waiter) = ask(&answers, Some("a"));
        pending.finish(answer(body));
        if handed_over {
            assert!(waiter.take().is_some());
        }
        drop(waiter);
        assert_eq!(answers.close(), lost, "{body} {handed_over}");
        assert!(matches!(answers.next(Some("a")), NextPoll::Closed));
    }
}

#[test]
fn answer_that_never_comes_closes_the_session() {
    let answers = LastAnswer::new(kept(100), Gauge::noop());
    let (pending, waiter) = ask(&answers, Some("a"));
    drop(pending);
    assert!(matches!(waiter.take(), Some(Waited::Closed)));
}
