//! The names of what a deployment has in Redis. Numbers of databases do not separate channels, so the prefix has to.

use fleetcast_core::domain::id::Id;

use super::instance::InstanceId;

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Audience {
    /// Instances that have sessions of the organisation.
    Organisation(Id),
    /// Every instance.
    All,
    /// One of them.
    Instance,
}

/// The channels and keys of one deployment.
#[derive(Debug, Clone)]
pub struct Names {
    /// With a colon behind it.
    prefix: Box<str>,
}

impl Names {
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: format!("{prefix}:").into(),
        }
    }

    /// What is sent to the members of an organisation's rooms.
    pub fn organisation(&self, organisation: &Id) -> String {
        format!("{}o:{organisation}", self.prefix)
    }

    /// For every instance.
    pub fn control(&self) -> String {
        format!("{}control", self.prefix)
    }

    /// For one instance.
    pub fn instance(&self, instance: InstanceId) -> String {
        format!("{}i:{instance}", self.prefix)
    }

    /// A key of this deployment.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// `None`: no channel between instances of this deployment.
    pub(super) fn audience(&self, channel: &[u8], own: InstanceId) -> Option<Audience> {
        let channel = str::from_utf8(channel).ok()?;
        let name = channel.strip_prefix(&*self.prefix)?;
        if name == "control" {
            return Some(Audience::All);
        }
        match name.split_once(':')? {
            ("o", organisation) => Id::parse(organisation).ok().map(Audience::Organisation),
            ("i", instance) => (instance == own.to_string()).then_some(Audience::Instance),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_read_as_it_is_written_and_no_other_deployments_is() {
        let (names, own) = (Names::new("fleetcast"), InstanceId::random());
        let organisation = Id::parse("o1").unwrap();
        for (channel, audience) in [
            (names.control(), Some(Audience::All)),
            (
                names.organisation(&organisation),
                Some(Audience::Organisation(organisation.clone())),
            ),
            (names.instance(own), Some(Audience::Instance)),
            (names.instance(InstanceId::random()), None),
            (Names::new("fleetcast2").control(), None),
            (Names::new("fleet").control(), None),
            ("fleetcast:o:".to_owned(), None),
            ("fleetcast:o:o 1".to_owned(), None),
            ("fleetcast:o:o1:x".to_owned(), None),
            ("fleetcast:x:o1".to_owned(), None),
            ("control".to_owned(), None),
            (String::new(), None),
        ] {
            let found = names.audience(channel.as_bytes(), own);
            assert_eq!(found, audience, "{channel}");
        }
        assert_eq!(names.audience(b"fleetcast:\xff", own), None);
    }
}
