//! Standard input, line by line, without holding up what else happens.

use std::io::{self, BufRead, Read};

use tokio::sync::mpsc;

/// Lines that wait. Full: reading waits too, and so does the writer of our standard input.
const WAITING: usize = 64;

/// Longer lines are an error: nothing that a broker takes by default is longer.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Lines without their ends, until the input ends. A thread of the runtime reads; it is left behind when the process ends.
pub(super) fn standard_input() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, lines) = mpsc::channel(WAITING);
    drop(tokio::task::spawn_blocking(move || {
        let mut input = io::stdin().lock();
        while let Some(line) = next(&mut input).transpose() {
            let failed = line.is_err();
            if sender.blocking_send(line).is_err() || failed {
                return;
            }
        }
    }));
    lines
}

/// Whether reading standard input would stop this process: it is a terminal, and another job of the shell has it.
pub(super) fn would_stop() -> bool {
    let foreground = rustix::termios::tcgetpgrp(io::stdin());
    foreground.is_ok_and(|group| group != rustix::process::getpgrp())
}

fn next(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let count = input.take(LONGEST + 1).read_until(b'\n', &mut line)?;
    if count == 0 {
        return Ok(None);
    }
    if u64::try_from(count).is_ok_and(|count| count > LONGEST) {
        let text = format!("a line is longer than {LONGEST} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_their_ends_and_the_last_needs_none() {
        let mut input = &b"one\r\n\ntwo"[..];
        let mut all = Vec::new();
        while let Some(line) = next(&mut input).unwrap() {
            all.push(line);
        }
        assert_eq!(all, [&b"one"[..], b"", b"two"]);
    }
}
