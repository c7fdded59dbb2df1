//! How many files and sockets the process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of open files to the hard one, which is what a server wants (the soft one is 1024 for the sake of
/// programs that call `select`), and returns what holds then. Call it once, before anything is opened in numbers.
pub fn raise_descriptor_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let soft = limit.current;
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, ?soft, "cannot raise the limit of open files");
            limit.current = soft;
        }
    }
    // None means no limit.
    limit.current.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    })
}
