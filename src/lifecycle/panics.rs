//! What is logged of a panic.

use std::panic;

use tracing::error;

/// Longest part of a panic message that is logged, in characters: messages of slicing panics quote the text that was sliced.
const PANIC_MESSAGE_CHARS: usize = 200;

/// Makes every panic one structured log line, calls `count` for it, and keeps the default hook's free text off the output.
/// The hook is the process's, so only `main` installs it.
pub fn log_panics(count: impl Fn() + Send + Sync + 'static) {
    panic::set_hook(Box::new(move |info| {
        count();
        let text = info.payload_as_str().unwrap_or("(not a text)");
        let message: String = text.chars().take(PANIC_MESSAGE_CHARS).collect();
        let location = info.location().map(ToString::to_string);
        error!(
            panic = %message,
            location = location.as_deref().unwrap_or("unknown"),
            thread = std::thread::current().name().unwrap_or("unnamed"),
            "panicked"
        );
    }));
}
