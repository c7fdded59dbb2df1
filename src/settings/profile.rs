//! The profile: which topics, routes, rooms and policy this instance serves.

/// Built-in or from a file.
#[derive(Debug, Clone)]
pub struct Profile {
    pub name: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("there is no built-in profile and no file of that name")]
    Unknown,
}

impl Profile {
    /// `name` is a built-in one or a path.
    pub fn load(
        name: &str,
        _topic_prefix: &str,
        _max_event_bytes: usize,
    ) -> Result<Self, ProfileError> {
        if name == "dispatch" {
            Ok(Self {
                name: name.to_owned(),
            })
        } else {
            Err(ProfileError::Unknown)
        }
    }
}
