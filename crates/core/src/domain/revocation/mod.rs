//! Which tokens are revoked.
//!
//! A revocation names a user, one token or an organisation, and concerns the tokens that were issued up to the moment of its request: a user
//! may be given a new one afterwards. One token is revoked whatever it says of when it was issued. Later revocations of the same add to
//! earlier ones, and never narrow them, in whatever order the two are read: instances agree.

mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use super::claims::Claims;
use super::id::{Id, UserId};
use super::percent;
pub use record::RevocationChange;

/// So many are taken from those who ask, on each instance. What the topic holds is kept all the same.
pub const MAX_REVOCATIONS: usize = 1_000_000;

/// The end of the year 9999, in Unix seconds. No record has a later time, which could not be written as a date.
pub const LATEST: u64 = 253_402_300_799;

/// The longest name of an issuer and of a token, in bytes.
const MAX_TEXT: usize = 1024;

/// Whose tokens, or which token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RevocationTarget {
    /// Everybody of an organisation.
    Organisation(Id),
    User(Id, UserId),
    /// One token. Without an issuer: of this id, from any issuer.
    Token {
        issuer: Option<Arc<str>>,
        jti: Arc<str>,
    },
}

impl RevocationTarget {
    /// `None`: one of the texts is empty, or too long.
    pub fn token(issuer: Option<&str>, jti: &str) -> Option<Self> {
        let fits = |text: &str| (1..=MAX_TEXT).contains(&text.len());
        (fits(jti) && issuer.is_none_or(fits)).then(|| Self::Token {
            issuer: issuer.map(Arc::from),
            jti: Arc::from(jti),
        })
    }

    /// From a record's key: what [`Display`](fmt::Display) writes, and nothing else.
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split('/');
        let target = match (parts.next()?, parts.next()?, parts.next()) {
            ("organization", organisation, None) => {
                Self::Organisation(Id::parse(organisation).ok()?)
            }
            ("user", organisation, Some(user)) => {
                let user = UserId::parse(&percent::decode(user)?).ok()?;
                Self::User(Id::parse(organisation).ok()?, user)
            }
            ("token", issuer, Some(jti)) => {
                let issuer = percent::decode(issuer)?;
                let issuer = (!issuer.is_empty()).then_some(issuer);
                Self::token(issuer.as_deref(), &percent::decode(jti)?)?
            }
            _ => return None,
        };
        parts.next().is_none().then_some(target)
    }

    /// Whether these are claims of such a token, whenever it was issued.
    pub fn names(&self, claims: &Claims) -> bool {
        match self {
            Self::Organisation(organisation) => *organisation == claims.organisation,
            Self::User(organisation, user) => {
                *organisation == claims.organisation && *user == claims.user
            }
            Self::Token { issuer, jti } => {
                claims.jti.as_deref() == Some(&**jti)
                    && (issuer.is_none() || *issuer == claims.issuer)
            }
        }
    }
}

/// The key of its record: `organization/o1`, `user/o1/auth0%7C5f`, `token/{issuer, perhaps empty}/{jti}`.
impl fmt::Display for RevocationTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organisation(organisation) => write!(formatter, "organization/{organisation}"),
            Self::User(organisation, user) => {
                let user = percent::encode(user.as_str());
                write!(formatter, "user/{organisation}/{user}")
            }
            Self::Token { issuer, jti } => {
                let issuer = percent::encode(issuer.as_deref().unwrap_or_default());
                write!(formatter, "token/{issuer}/{}", percent::encode(jti))
            }
        }
    }
}

/// Which tokens of its target are revoked, and for how long. Times in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// Tokens that were issued up to then. Those that do not say when: all. It is not asked about [one token](RevocationTarget::Token): its
    /// issuer's clock may be ahead, and it is the one that is meant.
    pub issued_until: u64,
    /// They may be used again from then on. `None`: never.
    pub until: Option<u64>,
}

impl Revocation {
    /// One that is asked for at `now_ms` (milliseconds since the Unix epoch). The whole second counts: `iat` of a token has been rounded
    /// down, and may have been issued before.
    pub fn requested(now_ms: u64, until: Option<u64>) -> Self {
        Self {
            issued_until: now_ms.div_ceil(1000),
            until,
        }
    }

    pub fn is_over(self, now: u64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    fn concerns(self, target: &RevocationTarget, issued_at: Option<u64>, now: u64) -> bool {
        let is_issued_before = || issued_at.is_none_or(|issued_at| issued_at <= self.issued_until);
        let names_one = matches!(target, RevocationTarget::Token { .. });
        !self.is_over(now) && (names_one || is_issued_before())
    }

    /// Both.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        Self {
            issued_until: self.issued_until.max(other.issued_until),
            // `None` is the longest.
            until: self.until.and_then(|until| Some(until.max(other.until?))),
        }
    }
}

/// A log of records: one that is lost and what comes in its place are two. 0: none.
pub type LogNumber = u32;

#[derive(Debug, Clone, Copy)]
struct KnownRevocation {
    revocation: Revocation,
    /// Where it was read last.
    log: LogNumber,
}

/// All that are known.
#[derive(Debug, Default)]
pub struct Revocations {
    by_target: BTreeMap<RevocationTarget, KnownRevocation>,
    /// When each is dropped, of those that are.
    ends: BTreeSet<(u64, RevocationTarget)>,
    /// So many seconds after its `issued_until` no token can be left that a revocation concerns. `None`: there may always be one.
    longest_life: Option<u64>,
}

impl Revocations {
    /// Each is dropped when no token can be left that it concerns: by what holds here, and not by what held where it was asked for.
    pub fn of_tokens_that_live(longest_life: Option<u64>) -> Self {
        Self {
            longest_life,
            ..Self::default()
        }
    }

    /// Whether a token with these claims is revoked at `now` (Unix seconds).
    pub fn judge(&self, claims: &Claims, now: u64) -> bool {
        if self.by_target.is_empty() {
            return false;
        }
        let concerned = |target: RevocationTarget| {
            let known = self.by_target.get(&target);
            known.is_some_and(|known| (known.revocation).concerns(&target, claims.issued_at, now))
        };
        let organisation = claims.organisation.clone();
        let token = |issuer: Option<Arc<str>>, jti: &String| RevocationTarget::Token {
            issuer,
            jti: Arc::from(jti.as_str()),
        };
        concerned(RevocationTarget::Organisation(organisation.clone()))
            || concerned(RevocationTarget::User(organisation, claims.user.clone()))
            || claims.jti.as_ref().is_some_and(|jti| {
                concerned(token(None, jti))
                    || (claims.issuer.as_ref())
                        .is_some_and(|issuer| concerned(token(Some(issuer.clone()), jti)))
            })
    }

    /// Adds to what is known of the target, and says what it comes to.
    pub fn add(&mut self, target: RevocationTarget, revocation: Revocation) -> Revocation {
        let before = self.by_target.get(&target).copied();
        let log = before.map_or(0, |known| known.log);
        let before = before.map(|known| known.revocation);
        let merged = before.map_or(revocation, |known| known.merged(revocation));
        if before == Some(merged) {
            return merged;
        }
        if let Some(before) = before {
            self.forget_end(&target, before);
        }
        if let Some(end) = self.end_of(merged) {
            self.ends.insert((end, target.clone()));
        }
        let known = KnownRevocation {
            revocation: merged,
            log,
        };
        self.by_target.insert(target, known);
        merged
    }

    /// Where it was read last; 0: nowhere, or it is not known.
    pub fn log_of(&self, target: &RevocationTarget) -> LogNumber {
        self.by_target.get(target).map_or(0, |known| known.log)
    }

    /// What is known of the target, if anything, has been read in this log.
    pub fn read_in(&mut self, target: &RevocationTarget, log: LogNumber) {
        if let Some(known) = self.by_target.get_mut(target) {
            known.log = log;
        }
    }

    /// Those that none of these logs holds.
    pub fn in_none_of(&self, logs: &[LogNumber]) -> impl Iterator<Item = &RevocationTarget> {
        let missing = self
            .by_target
            .iter()
            .filter(|(_, known)| !logs.contains(&known.log));
        missing.map(|(target, _)| target)
    }

    /// All behind this one, in their order, and where each was read last: for those who look at some at a time.
    pub fn following(
        &self,
        after: Option<&RevocationTarget>,
    ) -> impl Iterator<Item = (&RevocationTarget, LogNumber)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.by_target.range((from, Bound::Unbounded));
        range.map(|(target, known)| (target, known.log))
    }

    /// From then on it need not be known.
    fn end_of(&self, revocation: Revocation) -> Option<u64> {
        let life = self.longest_life;
        let last = life.map(|life| revocation.issued_until.saturating_add(life));
        revocation.until.into_iter().chain(last).min()
    }

    /// Whether it need not be known at `now`, here.
    pub fn has_ended(&self, revocation: Revocation, now: u64) -> bool {
        self.end_of(revocation).is_some_and(|end| end <= now)
    }

    fn forget_end(&mut self, target: &RevocationTarget, revocation: Revocation) {
        if let Some(end) = self.end_of(revocation) {
            self.ends.remove(&(end, target.clone()));
        }
    }

    /// Whether one more target would be too many.
    pub fn is_full(&self, target: &RevocationTarget) -> bool {
        self.by_target.len() >= MAX_REVOCATIONS && !self.by_target.contains_key(target)
    }

    pub fn get(&self, target: &RevocationTarget) -> Option<Revocation> {
        self.by_target.get(target).map(|known| known.revocation)
    }

    /// An operator has deleted it. False if there was none.
    pub fn remove(&mut self, target: &RevocationTarget) -> bool {
        let Some(removed) = self.by_target.remove(target) else {
            return false;
        };
        self.forget_end(target, removed.revocation);
        true
    }

    /// Drops those that are over, of at most so many. True if there were as many as that: there may be more.
    pub fn expire(&mut self, now: u64, most: usize) -> bool {
        for _ in 0..most {
            if self.ends.first().is_none_or(|(end, _)| *end > now) {
                return false;
            }
            if let Some((_, target)) = self.ends.pop_first() {
                self.by_target.remove(&target);
            }
        }
        true
    }

    pub fn len(&self) -> usize {
        self.by_target.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_target.is_empty()
    }
}

#[cfg(test)]
mod tests;
