//! What `fleetcast demo` has instead of a company: a broker in the process, a city that writes to it, five people.

pub mod city;
