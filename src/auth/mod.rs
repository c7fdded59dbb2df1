//! stub

pub struct Verifier;
impl Verifier {
    pub fn verify(&self, _token: &str, _now: u64) -> Result<fleetcast_core::domain::claims::Claims, fleetcast_core::domain::protocol::Refusal> { Err(fleetcast_core::domain::protocol::Refusal::TokenInvalid) }
}
