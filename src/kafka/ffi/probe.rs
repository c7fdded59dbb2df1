//! What exactly is wrong with a connection. librdkafka says "certificate verify failed" whatever the reason; only the callback that
//! rust-rdkafka does not offer learns which one OpenSSL has.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::bindings as sys;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::{EventQueue, Taken, text_at};

/// What was heard while a client tried to connect.
#[derive(Debug, Default)]
pub(in crate::kafka) struct Probe {
    /// The brokers answered.
    pub(in crate::kafka) answered: bool,
    /// What OpenSSL has against the certificate: one of its `X509_V_ERR_...`.
    pub(in crate::kafka) certificate: Option<i32>,
    /// Errors by code, with librdkafka's words.
    pub(in crate::kafka) errors: Vec<(RDKafkaErrorCode, String)>,
}

/// Tries to connect with a client of its own, until the brokers answer or `enough` was heard, for about `at_most`. Blocks.
pub(in crate::kafka) fn probe(
    config: &ClientConfig,
    at_most: Duration,
    enough: impl Fn(&Probe) -> bool,
) -> KafkaResult<Probe> {
    const SLICE: c_int = 200;

    let native = config.create_native_config()?;
    let verdict = AtomicI32::new(0);
    let mut heard = Probe::default();
    // SAFETY: the copy of the configuration is the new client's, or given back if there is none. `verdict` outlives the client,
    // which is destroyed before this returns (`Client` is declared after it); its callback only stores into it.
    let client = unsafe {
        let conf = sys::rd_kafka_conf_dup(native.ptr());
        sys::rd_kafka_conf_set_events(conf, sys::RD_KAFKA_EVENT_ERROR);
        // Or it would print its log.
        sys::rd_kafka_conf_set_log_cb(conf, None);
        sys::rd_kafka_conf_set_opaque(conf, (&raw const verdict).cast_mut().cast());
        sys::rd_kafka_conf_set_ssl_cert_verify_cb(conf, Some(verify));
        let kind = sys::rd_kafka_type_t::RD_KAFKA_PRODUCER;
        let Some(client) = NonNull::new(sys::rd_kafka_new(kind, conf, ptr::null_mut(), 0)) else {
            sys::rd_kafka_conf_destroy(conf);
            return Ok(heard);
        };
        ProbeClient(client)
    };
    let deadline = Instant::now() + at_most;
    while !heard.answered && !enough(&heard) && Instant::now() < deadline {
        // SAFETY: the client is alive, the answer is given back, the queue and its events are by `drop`.
        unsafe {
            let mut metadata = ptr::null();
            let answer = sys::rd_kafka_metadata(
                client.0.as_ptr(),
                0,
                ptr::null_mut(),
                &raw mut metadata,
                SLICE,
            );
            heard.answered = answer == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
            if !metadata.is_null() {
                sys::rd_kafka_metadata_destroy(metadata);
            }
            let queue =
                NonNull::new(sys::rd_kafka_queue_get_main(client.0.as_ptr())).map(EventQueue);
            while let Some(event) = (queue.as_ref())
                .and_then(|queue| NonNull::new(sys::rd_kafka_queue_poll(queue.0.as_ptr(), 0)))
                .map(Taken)
            {
                let event = event.0.as_ptr();
                if sys::rd_kafka_event_type(event) == sys::RD_KAFKA_EVENT_ERROR {
                    let text = text_at(sys::rd_kafka_event_error_string(event));
                    let code = sys::rd_kafka_event_error(event).into();
                    heard.errors.push((code, text.to_owned()));
                }
            }
        }
        let verdict = verdict.load(Ordering::Acquire);
        heard.certificate = (verdict != 0).then_some(verdict);
    }
    Ok(heard)
}

struct ProbeClient(NonNull<sys::rd_kafka_t>);

impl Drop for ProbeClient {
    fn drop(&mut self) {
        // SAFETY: the client is ours, and its queue was given back.
        unsafe { sys::rd_kafka_destroy(self.0.as_ptr()) }
    }
}

/// Called by librdkafka for each certificate of the chain, on a thread of its own. Judges as it would without: what OpenSSL
/// refuses is refused.
unsafe extern "C" fn verify(
    _client: *mut sys::rd_kafka_t,
    _broker: *const c_char,
    _broker_id: i32,
    error: *mut c_int,
    _depth: c_int,
    _certificate: *const c_char,
    _size: usize,
    _why: *mut c_char,
    _why_size: usize,
    verdict: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka gives a number of its own, and the opaque pointer set in `probe`.
    let (error, verdict) = unsafe { (*error, &*verdict.cast::<AtomicI32>()) };
    if error != 0 {
        verdict.store(error, Ordering::Release);
    }
    c_int::from(error == 0)
}
