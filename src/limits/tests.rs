//! What one address, one user and one organisation may have, and what others lose by it: nothing.

use super::*;

fn most(count: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(count)
}

fn addresses() -> [Option<AddressBlock>; 2] {
    [1, 2].map(|last| Some(AddressBlock::from(IpAddr::from([192, 0, 2, last]))))
}

#[test]
fn a_refused_organisation_gives_back_what_was_taken_of_the_user() {
    let limits = Limits::new(LimitSettings {
        connections_per_user: most(2),
        connections_per_organisation: most(3),
        ..LimitSettings::default()
    });
    let take = |organisation, user| {
        let organisation = Id::parse(organisation).unwrap();
        limits.take_identity(&organisation, &UserId::parse(user).unwrap())
    };
    let held = [take("o1", "u1"), take("o1", "u1"), take("o1", "u2")].map(Result::unwrap);
    assert_eq!(take("o1", "u1").err(), Some(RejectReason::UserLimit));
    for _ in 0..5 {
        let refused = take("o1", "u2").err();
        assert_eq!(refused, Some(RejectReason::OrganisationLimit));
    }
    let same_name_elsewhere = take("o2", "u1").unwrap();
    let [first, second, third] = held;
    drop(first);
    drop(take("o1", "u2").unwrap());
    drop((second, third, same_name_elsewhere));
    drop([take("o1", "u1"), take("o1", "u1"), take("o1", "u3")].map(Result::unwrap));
}

#[test]
fn a49_a42_an_address_that_fails_too_often_is_refused_and_others_are_not() {
    let [one, other] = addresses();
    for (connections, expected) in [(20, 500), (5_000, 12_500)] {
        let limits = Limits::new(LimitSettings {
            connections_per_address: most(connections),
            ..LimitSettings::default()
        });
        let asked = (0..50_000).take_while(|_| limits.unknown_session(one));
        let asked = asked.count();
        assert!(
            (expected..expected + expected / 5).contains(&asked),
            "{asked}"
        );
        // That touches no token, and no handshake.
        while limits.unknown_session(one) {}
        assert_eq!(
            (limits.may_try(one), limits.handshake(one)),
            (Ok(()), Ok(()))
        );
        assert!(limits.unknown_session(other));

        let shown = (0..50_000).take_while(|_| {
            limits.token_rejected(one);
            limits.may_try(one).is_ok()
        });
        let shown = shown.count();
        assert!(
            (expected - 1..expected + expected / 5).contains(&shown),
            "{shown}"
        );
        assert_eq!(limits.handshake(one), Err(RejectReason::AuthRate));
        let others = (limits.may_try(other), limits.may_try(None));
        assert_eq!(others, (Ok(()), Ok(())));
    }
}

#[test]
fn a49_a42_where_all_clients_have_one_address_failures_are_not_limited() {
    let [one, _] = addresses();
    let limits = Limits::new(LimitSettings::default());
    for _ in 0..5_000 {
        limits.token_rejected(one);
        assert!(limits.unknown_session(one));
    }
    assert_eq!(
        (limits.may_try(one), limits.handshake(one)),
        (Ok(()), Ok(()))
    );
}

#[test]
fn a75_replays_of_a_user_are_bounded_by_its_connections() {
    let replays = |connections| {
        let limits = Limits::new(LimitSettings {
            connections_per_user: most(connections),
            ..LimitSettings::default()
        });
        let organisation = Id::parse("o1").unwrap();
        let count = |user| {
            let user = UserId::parse(user).unwrap();
            let admitted = (0..1_000).filter(|_| limits.replay(&organisation, &user).is_ok());
            admitted.count()
        };
        [count("u1"), count("u2")]
    };
    assert_eq!(replays(0), [1_000, 1_000], "no limit");
    let [one, other] = replays(20);
    assert!(
        (60..80).contains(&one) && (60..80).contains(&other),
        "{one} {other}"
    );
    assert!((3..8).contains(&replays(1)[0]));
}

#[test]
fn what_is_exempt_or_has_no_limit_is_not_counted() {
    let limited = Limits::new(LimitSettings {
        connections_per_address: most(1),
        handshakes_per_second: most(1),
        ..LimitSettings::default()
    });
    let free = Limits::new(LimitSettings::default());
    let address = Some(AddressBlock::from(IpAddr::from([192, 0, 2, 1])));
    for (limits, client) in [(&limited, None), (&free, address)] {
        let slots = [limits.take_address(client), limits.take_address(client)];
        assert!(slots.iter().all(Result::is_ok));
        assert!((0..10).all(|_| limits.handshake(client).is_ok()));
    }
    let held = limited.take_address(address).unwrap();
    let refused = limited.take_address(address).err();
    assert_eq!(refused, Some(RejectReason::IpLimit));
    drop(held);
    assert!(limited.take_address(address).is_ok());
    assert_eq!(limited.handshake(address), Ok(()));
    assert_eq!(limited.handshake(address), Err(RejectReason::HandshakeRate));
}
