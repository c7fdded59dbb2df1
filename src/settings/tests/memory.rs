//! `MAX_RSS`.

use super::*;

#[test]
fn a90_limit_of_memory_is_optional_and_too_little_for_a_process_stops_the_start() {
    let small = [
        ("FLEETCAST_WINDOW_BYTES", "16MiB"),
        ("FLEETCAST_LATEST_BYTES", "16MiB"),
    ];
    let max = |text| good(&[&small[..], &[("MAX_RSS", text)]].concat()).max_rss;
    assert_eq!(good(&[]).max_rss, None);
    assert_eq!((max("0"), max("")), (None, None));
    assert_eq!(max("64MiB"), Some(64 << 20));
    for text in ["63MiB", "1"] {
        let told = problem(&[("MAX_RSS", text)]);
        assert!(told.contains("at least 64 MiB"), "{told}");
    }
    assert!(problem(&[("MAX_RSS", "auto")]).contains("MAX_RSS"));
}

#[test]
fn a90_caps_that_do_not_fit_into_the_limit_are_a_warning() {
    let told = notices(&good(&[("MAX_RSS", "200MiB")]));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("402653184 bytes together"), "{told:?}");
    assert_eq!(good(&[("MAX_RSS", "1GiB")]).notices, []);
    assert_eq!(good(&[("MAX_RSS", "0")]).notices, []);
}
