//! Writing, against the mock broker.

use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::super::{ConsumerSettings, OutgoingRecord, Producer, WriteError, WrittenAt};
use super::rig::mock_broker;

const DELIVERY: Duration = Duration::from_secs(20);

async fn write(producer: &Producer, value: &[u8]) -> Result<WrittenAt, WriteError> {
    let record = OutgoingRecord {
        topic: "publish",
        key: Some("k"),
        headers: &[],
        value,
    };
    producer.write(record).await
}

/// The brokers have lost what a producer had written: an idempotent one refuses everything from then on.
#[tokio::test]
async fn h20_a_producer_that_has_failed_is_made_again() {
    let (cluster, settings) = mock_broker(&[("publish", 1)]);
    let producer = Producer::new(&settings, DELIVERY).unwrap();
    write(&producer, b"1").await.unwrap();
    let lost = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER];
    cluster.request_errors(RDKafkaApiKey::Produce, &lost);
    let failed = write(&producer, b"2").await;
    assert!(matches!(failed, Err(WriteError::Fatal(_))), "{failed:?}");
    // A clone writes with the new one, too.
    assert!(write(&producer.clone(), b"3").await.is_ok());
    assert!(write(&producer, b"4").await.is_ok());
}

/// How large a record may be is the brokers' to say.
#[tokio::test]
async fn h20_what_is_too_large_or_not_allowed_is_told_from_what_may_be_tried_again() {
    let (cluster, settings) = mock_broker(&[("publish", 1)]);
    let producer = Producer::new(&settings, DELIVERY).unwrap();
    let large = vec![b'x'; 2_500_000];
    assert!(write(&producer, &large).await.is_ok());
    for (error, is_expected) in [
        (
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
            (|error| matches!(error, WriteError::TooLarge)) as fn(&WriteError) -> bool,
        ),
        (
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            |error| matches!(error, WriteError::NotAllowed),
        ),
    ] {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        let refused = write(&producer, b"1").await.unwrap_err();
        assert!(is_expected(&refused), "{error:?}: {refused:?}");
    }
    // An operator's property wins.
    let mut settings: ConsumerSettings = settings;
    let property = ("message.max.bytes".to_owned(), "10000".to_owned());
    settings.properties.extend([property]);
    let producer = Producer::new(&settings, DELIVERY).unwrap();
    let refused = write(&producer, &large).await;
    assert!(matches!(refused, Err(WriteError::TooLarge)), "{refused:?}");
}
