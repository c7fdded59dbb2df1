//! What the other instances have: those whose lease has not lapsed.

use std::collections::BTreeMap;

use super::Registry;
use super::merge::{SortedPart, merged};
use super::place::{RegistryPlace, RegistryRange};
use super::record::RegistryRecord;
use crate::bus::fault::RedisFault;
use crate::telemetry::events;
use crate::telemetry::labels::Component;

/// A connection to another instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteConnection {
    /// The id of the instance.
    pub instance: String,
    pub record: RegistryRecord,
}

impl Registry {
    /// Some of the connections of other instances that follow, about `most`, in the order of places.
    pub async fn following(
        &self,
        range: RegistryRange<'_>,
        after: Option<&RegistryPlace>,
        most: usize,
    ) -> Result<SortedPart<RegistryPlace, RemoteConnection>, RedisFault> {
        let (from, to) = range.bounds(after);
        let mut asked = self.scripts.following.prepare_invoke();
        asked.arg(&*self.prefix).arg(&*self.instance);
        asked.arg(from).arg(to).arg(most);
        let lists: Vec<(String, usize, Vec<Vec<u8>>)> = self.link.run(&asked).await?;
        let parts = lists.iter().map(|(instance, most, members)| {
            let place = |member: &Vec<u8>| RegistryPlace::read(std::str::from_utf8(member).ok()?);
            let places = members.iter().filter_map(place);
            let items: Vec<_> = places.map(|place| (place, instance.as_str())).collect();
            let is_all = members.len() < *most;
            let last = items.last().map(|(last, _)| last.clone());
            SortedPart {
                up_to: last.filter(|_| !is_all),
                items,
            }
        });
        let SortedPart { items, up_to } = merged(parts);
        Ok(SortedPart {
            items: self.with_records(items).await?,
            up_to,
        })
    }

    /// Without those that have ended meanwhile.
    async fn with_records(
        &self,
        places: Vec<(RegistryPlace, &str)>,
    ) -> Result<Vec<(RegistryPlace, RemoteConnection)>, RedisFault> {
        let mut by_instance = BTreeMap::<&str, Vec<RegistryPlace>>::new();
        for (place, instance) in places {
            by_instance.entry(instance).or_default().push(place);
        }
        if by_instance.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = redis::pipe();
        for (instance, places) in &by_instance {
            let connections: Vec<&str> = places.iter().map(|place| &*place.connection).collect();
            let key = format!("{}:connections:{instance}", self.prefix);
            commands.cmd("HMGET").arg(key).arg(connections);
        }
        let records: Vec<Vec<Option<Vec<u8>>>> = self.link.ask_all(&commands).await?;
        let mut found = Vec::new();
        for ((instance, places), records) in by_instance.into_iter().zip(records) {
            for (place, record) in places.into_iter().zip(records) {
                if let Some(remote) = record.and_then(|record| self.read(instance, &record)) {
                    found.push((place, remote));
                }
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    /// The connection, if another instance has it.
    pub async fn find(
        &self,
        connection: &str,
    ) -> Result<Option<(RegistryPlace, RemoteConnection)>, RedisFault> {
        let mut asked = self.scripts.find.prepare_invoke();
        asked
            .arg(&*self.prefix)
            .arg(&*self.instance)
            .arg(connection);
        let found: Vec<Vec<u8>> = self.link.run(&asked).await?;
        let [instance, record] = found.as_slice() else {
            return Ok(None);
        };
        let remote = self.read(&String::from_utf8_lossy(instance), record);
        Ok(remote.and_then(|remote| Some((remote.record.place(connection)?, remote))))
    }

    fn read(&self, instance: &str, record: &[u8]) -> Option<RemoteConnection> {
        let record = RegistryRecord::read(record);
        if record.is_none() {
            let context = "a connection of another instance is not listed: its record in Redis cannot be read";
            events::fault(&self.metrics, Component::Redis, context, instance);
        }
        Some(RemoteConnection {
            instance: instance.to_owned(),
            record: record?,
        })
    }
}
