//! What Redis does in one step. Each script knows the keys by their prefix: they are on one server.
//!
//! Other programs may have written under these names. So nothing is read without a bound, and a key of another type spoils only what it
//! would have told.

use redis::Script;

use super::{KEEP, LEASE, ms};

/// Instances that are looked at. With more leases than this something else than Fleetcast has written some.
pub(super) const MOST_LIVE: u32 = 1_000;
/// A record of more bytes is none of ours, and is not read: an empty text takes its place.
const LARGEST_RECORD: usize = 64 * 1024;

/// Lists the instances whose lease has not ended, by the clock of Redis: `live` and `now` are there for what follows. A lease that ends
/// later than one from now on would, as when the clock was set back, is none.
const LIVE: &str = r"
local prefix, own = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local instances, rewriting = prefix .. ':instances', prefix .. ':rewriting'
local function of(kind, instance) return prefix .. ':' .. kind .. ':' .. instance end
local function tried(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then return nil end
  return answer
end
";

/// What is read of others: `others` are those that live beside this one. `whole` is 1 if Redis has all that they have open: this one's own
/// lease lives, so Redis takes leases and has not just lost them, none of them is writing everything again, and there are not too many.
const OTHERS: &str = r"
local live = redis.call('ZRANGEBYSCORE', instances, '(' .. now, now + lease, 'LIMIT', 0, most_live)
local others, whole = {}, 0
for _, instance in ipairs(live) do
  if instance == own then whole = 1 else others[#others + 1] = instance end
end
if #live == most_live or tried('ZCOUNT', rewriting, '(' .. now, now + lease) ~= 0 then whole = 0 end
local function get(instance, connection)
  local key = of('connections', instance)
  local size = tried('HSTRLEN', key, connection)
  if not size or size == 0 then return false end
  if size > largest then return '' end
  return tried('HGET', key, connection) or false
end
";

/// ARGV: prefix, own instance, 1 if it is writing everything again, most instances to reap. Gives how many connections, places of connections and slots Redis has of this
/// instance, how many leases there are, and how many of its keys had another type, which are gone. Of a lease that ends too late it is only
/// known that it had not ended by now.
const RENEW: &str = r"
local healed = 0
local function mended(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    if string.find(answer.err, 'WRONGTYPE', 1, true) then
      redis.call('UNLINK', key)
      healed = healed + 1
    end
    return redis.call(command, key, ...)
  end
  return answer
end
mended('ZADD', instances, now + lease, own)
if ARGV[3] == '1' then mended('ZADD', rewriting, now + lease, own) else mended('ZREM', rewriting, own) end
local function expire(key) redis.call('PEXPIRE', key, lease + keep) end
expire(instances)
expire(rewriting)
local kinds = { 'connections', 'order', 'slots' }
for _, kind in ipairs(kinds) do expire(of(kind, own)) end
local most = tonumber(ARGV[4])
if most > 0 then
  local gone = redis.call('ZRANGEBYSCORE', instances, '-inf', now - keep, 'LIMIT', 0, most)
  for _, instance in ipairs(gone) do
    for _, kind in ipairs(kinds) do redis.call('UNLINK', of(kind, instance)) end
    redis.call('ZREM', instances, instance)
    redis.call('ZREM', rewriting, instance)
  end
  local beyond = redis.call('ZRANGEBYSCORE', instances, '(' .. now + lease, '+inf', 'LIMIT', 0, most)
  for _, instance in ipairs(beyond) do redis.call('ZADD', instances, now, instance) end
end
local count = redis.call('ZCOUNT', instances, '(' .. now, now + lease)
local function size(command, kind) return mended(command, of(kind, own)) end
return { size('HLEN', 'connections'), size('ZCARD', 'order'), size('ZCARD', 'slots'), count, healed }
";

/// ARGV: prefix, own instance, from, to, how many. Gives whether that is all (`whole`), and an instance, how many of it are asked for at
/// most, and those, for each of the others: together about as many as are asked for.
const FOLLOWING: &str = r"
local each = math.ceil(tonumber(ARGV[5]) / math.max(#others, 1)) + 8
local found = {}
for _, instance in ipairs(others) do
  local members = tried('ZRANGEBYLEX', of('order', instance), ARGV[3], ARGV[4], 'LIMIT', 0, each)
  if members then found[#found + 1] = { instance, each, members } else whole = 0 end
end
return { whole, found }
";

/// ARGV: prefix, own instance, and instances with a connection each. Gives the record of each, or nothing.
const RECORDS: &str = r"
local records = {}
for at = 3, #ARGV, 2 do records[#records + 1] = get(ARGV[at], ARGV[at + 1]) end
return records
";

/// ARGV: prefix, own instance, connection. Gives whether all were asked, and the instance that has it and its record, or nothing.
const FIND: &str = r"
for _, instance in ipairs(others) do
  local record = get(instance, ARGV[3])
  if record then return { whole, { instance, record } } end
end
return { whole, {} }
";

/// ARGV: prefix, own instance, from, to. Gives whether that is all, how many others there are, and how many connections they have there.
const COUNT: &str = r"
local sum = 0
for _, instance in ipairs(others) do
  local count = tried('ZLEXCOUNT', of('order', instance), ARGV[3], ARGV[4])
  if count then sum = sum + count else whole = 0 end
end
return { whole, #others, sum }
";

/// ARGV: prefix, own instance, the slot, the ranges of its user and its organisation (two each), how many each may have (-1: no limit).
/// Gives 0: it is taken; 1: the user has as many as it may have; 2: its organisation has. A slot that was taken before
/// is taken still. The own slots count whether or not the lease has ended: they are asked for right now. An instance without a lease,
/// because Redis has just lost it, gets one: else others would not count what it takes.
const TAKE: &str = r"
local slot, per_user, per_organisation = ARGV[3], tonumber(ARGV[8]), tonumber(ARGV[9])
local mine = of('slots', own)
if redis.call('ZSCORE', mine, slot) then return 0 end
local function count(from, to)
  local sum = redis.call('ZLEXCOUNT', mine, from, to)
  for _, instance in ipairs(others) do sum = sum + (tried('ZLEXCOUNT', of('slots', instance), from, to) or 0) end
  return sum
end
if per_user >= 0 and count(ARGV[4], ARGV[5]) >= per_user then return 1 end
if per_organisation >= 0 and count(ARGV[6], ARGV[7]) >= per_organisation then return 2 end
redis.call('ZADD', mine, 0, slot)
redis.call('PEXPIRE', mine, lease + keep)
redis.call('ZADD', instances, 'NX', now + lease, own)
return 0
";

/// All of them: each is sent once and known by its hash from then on.
pub(super) struct Scripts {
    pub(super) renew: Script,
    pub(super) following: Script,
    pub(super) records: Script,
    pub(super) find: Script,
    pub(super) count: Script,
    pub(super) take: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let (lease, keep) = (ms(LEASE), ms(KEEP));
        let numbers = format!(
            "local lease, keep, most_live, largest = {lease}, {keep}, {MOST_LIVE}, {LARGEST_RECORD}"
        );
        let script = |parts: &[&str]| Script::new(&[&[&numbers, LIVE], parts].concat().concat());
        Self {
            renew: script(&[RENEW]),
            following: script(&[OTHERS, FOLLOWING]),
            records: script(&[OTHERS, RECORDS]),
            find: script(&[OTHERS, FIND]),
            count: script(&[OTHERS, COUNT]),
            take: script(&[OTHERS, TAKE]),
        }
    }
}
