//! What the other instances have: those whose lease has not lapsed.

use super::Registry;
use super::merge::{SortedPart, merged};
use super::place::{RegistryPlace, RegistryRange};
use super::record::RegistryRecord;
use crate::bus::fault::RedisFault;
use crate::telemetry::events;
use crate::telemetry::labels::Component;

/// An instance, how many of it were asked for at most, and those.
type InstanceMembers = (Vec<u8>, usize, Vec<Vec<u8>>);

/// A connection to another instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConnection {
    /// The id of the instance.
    pub instance: String,
    pub record: RegistryRecord,
}

/// Some of the connections of other instances.
pub struct RemotePart {
    pub part: SortedPart<RegistryPlace, RemoteConnection>,
    /// No instance has others, as far as Redis knows. False also if something there cannot be read.
    pub is_whole: bool,
}

/// How many connections there are elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetCount {
    pub connections: usize,
    /// Other instances that live.
    pub instances: u64,
}

impl Registry {
    /// Some of the connections of other instances that follow, about `most`, in the order of places.
    pub async fn following(
        &self,
        range: RegistryRange<'_>,
        after: Option<&RegistryPlace>,
        most: usize,
    ) -> Result<RemotePart, RedisFault> {
        let (from, to) = range.bounds(after);
        let mut asked = self.scripts.following.prepare_invoke();
        asked.arg(&*self.prefix).arg(&*self.instance);
        asked.arg(from).arg(to).arg(most);
        let (whole, lists): (u8, Vec<InstanceMembers>) = self.link.run(&asked).await?;
        let mut is_whole = whole == 1 && self.is_settled();
        let mut parts = Vec::new();
        for (instance, most, members) in &lists {
            let Ok(instance) = std::str::from_utf8(instance) else {
                self.unreadable("an instance whose name is no text");
                continue;
            };
            let place = |member: &Vec<u8>| RegistryPlace::read(std::str::from_utf8(member).ok()?);
            let places = members.iter().filter_map(place);
            let items: Vec<_> = places.map(|place| (place, instance)).collect();
            let goes_on = members.len() >= *most;
            if items.is_empty() && goes_on {
                // What is behind these cannot be asked for.
                self.unreadable(instance);
                is_whole = false;
            }
            let last = items.last().map(|(last, _)| last.clone());
            parts.push(SortedPart {
                up_to: last.filter(|_| goes_on),
                items,
            });
        }
        let SortedPart { items, up_to } = merged(parts);
        let items = self.with_records(items).await?;
        Ok(RemotePart {
            part: SortedPart { items, up_to },
            is_whole,
        })
    }

    /// Without those that have ended meanwhile.
    async fn with_records(
        &self,
        places: Vec<(RegistryPlace, &str)>,
    ) -> Result<Vec<(RegistryPlace, RemoteConnection)>, RedisFault> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut asked = self.scripts.records.prepare_invoke();
        asked.arg(&*self.prefix).arg(&*self.instance);
        for (place, instance) in &places {
            asked.arg(*instance).arg(&*place.connection);
        }
        let records: Vec<Option<Vec<u8>>> = self.link.run(&asked).await?;
        let found = places.into_iter().zip(records);
        let read = found.filter_map(|((place, instance), record)| {
            let remote = self.read(instance, &place.connection, &record?)?;
            // What something else has written is not shown as one of another organisation.
            if remote.0 != place {
                self.unreadable(instance);
                return None;
            }
            Some(remote)
        });
        Ok(read.collect())
    }

    /// The connection, if another instance has it.
    ///
    /// # Errors
    ///
    /// Also if it is not there, and not all have written what they have.
    pub async fn find(
        &self,
        connection: &str,
    ) -> Result<Option<(RegistryPlace, RemoteConnection)>, RedisFault> {
        let mut asked = self.scripts.find.prepare_invoke();
        asked
            .arg(&*self.prefix)
            .arg(&*self.instance)
            .arg(connection);
        let (whole, found): (u8, Vec<Vec<u8>>) = self.link.run(&asked).await?;
        let found = match found.as_slice() {
            [instance, record] => {
                let instance = String::from_utf8_lossy(instance);
                self.read(&instance, connection, record)
            }
            _ => None,
        };
        if found.is_none() && !(whole == 1 && self.is_settled()) {
            return Err(RedisFault::NotWhole);
        }
        Ok(found)
    }

    /// How many connections of a user other instances have, and how many instances that are.
    ///
    /// # Errors
    ///
    /// Also if not all have written what they have.
    pub async fn count(&self, range: RegistryRange<'_>) -> Result<FleetCount, RedisFault> {
        let (from, to) = range.bounds(None);
        let mut asked = self.scripts.count.prepare_invoke();
        asked.arg(&*self.prefix).arg(&*self.instance);
        asked.arg(from).arg(to);
        let (whole, instances, connections): (u8, u64, usize) = self.link.run(&asked).await?;
        if whole != 1 || !self.is_settled() {
            return Err(RedisFault::NotWhole);
        }
        Ok(FleetCount {
            connections,
            instances,
        })
    }

    fn read(
        &self,
        instance: &str,
        connection: &str,
        record: &[u8],
    ) -> Option<(RegistryPlace, RemoteConnection)> {
        let read = RegistryRecord::read(record);
        let read = read.and_then(|record| Some((record.place(connection)?, record)));
        let Some((place, record)) = read else {
            self.unreadable(instance);
            return None;
        };
        let remote = RemoteConnection {
            instance: instance.to_owned(),
            record,
        };
        Some((place, remote))
    }

    fn unreadable(&self, instance: &str) {
        events::fault(
            &self.metrics,
            Component::Redis,
            "a connection of another instance is not listed: its record in Redis cannot be read",
            instance,
        );
    }
}
