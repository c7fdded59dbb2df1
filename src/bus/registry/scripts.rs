//! What Redis does in one step. Each script knows the keys by their prefix: they are on one server.

use redis::Script;

/// Lists the instances whose lease has not ended, by the clock of Redis: `live` and `now` are there for what follows.
const LIVE: &str = r"
local prefix, own = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local instances = prefix .. ':instances'
local live = redis.call('ZRANGEBYSCORE', instances, '(' .. now, '+inf')
local function of(kind, instance) return prefix .. ':' .. kind .. ':' .. instance end
";

/// ARGV: prefix, own instance, lease and keep in ms, most instances to reap. Gives how many connections, places of
/// connections and slots Redis has of this instance, how many leases there are, and how many instances were reaped.
const RENEW: &str = r"
local lease, keep, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
redis.call('ZADD', instances, now + lease, own)
local function expire(key) redis.call('PEXPIRE', key, lease + keep) end
expire(instances)
local kinds = { 'connections', 'order', 'slots' }
for _, kind in ipairs(kinds) do expire(of(kind, own)) end
local reaped = 0
if most > 0 then
  local gone = redis.call('ZRANGEBYSCORE', instances, '-inf', now - keep, 'LIMIT', 0, most)
  for _, instance in ipairs(gone) do
    for _, kind in ipairs(kinds) do redis.call('UNLINK', of(kind, instance)) end
    redis.call('ZREM', instances, instance)
    reaped = reaped + 1
  end
end
local count = redis.call('ZCOUNT', instances, '(' .. now, '+inf')
local function size(command, kind) return redis.call(command, of(kind, own)) end
return { size('HLEN', 'connections'), size('ZCARD', 'order'), size('ZCARD', 'slots'), count, reaped }
";

/// ARGV: prefix, own instance, from, to, how many. Gives an instance, how many of it are asked for at most, and those, for each of the
/// others: together about as many as are asked for.
const FOLLOWING: &str = r"
local others = {}
for _, instance in ipairs(live) do if instance ~= own then others[#others + 1] = instance end end
local each = math.ceil(tonumber(ARGV[5]) / math.max(#others, 1)) + 8
local found = {}
for _, instance in ipairs(others) do
  found[#found + 1] = { instance, each, redis.call('ZRANGEBYLEX', of('order', instance), ARGV[3], ARGV[4], 'LIMIT', 0, each) }
end
return found
";

/// ARGV: prefix, own instance, connection. Gives the instance that has it and its record, or nothing.
const FIND: &str = r"
for _, instance in ipairs(live) do
  if instance ~= own then
    local record = redis.call('HGET', of('connections', instance), ARGV[3])
    if record then return { instance, record } end
  end
end
return {}
";

/// ARGV: prefix, own instance, the slot, the ranges of its user and its organisation (two each), how many each may have (-1: no limit),
/// how long the key is kept and the lease in ms. Gives 0: it is taken; 1: the user has as many as it may have; 2: its organisation has. A slot that was taken before
/// is taken still. The own slots count whether or not the lease has ended: they are asked for right now. An instance without a lease,
/// because Redis has just lost it, gets one: else others would not count what it takes.
const TAKE: &str = r"
local slot, per_user, per_organisation = ARGV[3], tonumber(ARGV[8]), tonumber(ARGV[9])
local mine = of('slots', own)
if redis.call('ZSCORE', mine, slot) then return 0 end
local function count(from, to)
  local sum = redis.call('ZLEXCOUNT', mine, from, to)
  for _, instance in ipairs(live) do
    if instance ~= own then sum = sum + redis.call('ZLEXCOUNT', of('slots', instance), from, to) end
  end
  return sum
end
if per_user >= 0 and count(ARGV[4], ARGV[5]) >= per_user then return 1 end
if per_organisation >= 0 and count(ARGV[6], ARGV[7]) >= per_organisation then return 2 end
redis.call('ZADD', mine, 0, slot)
redis.call('PEXPIRE', mine, tonumber(ARGV[10]))
redis.call('ZADD', instances, 'NX', now + tonumber(ARGV[11]), own)
return 0
";

/// All of them: each is sent once and known by its hash from then on.
pub(super) struct Scripts {
    pub(super) renew: Script,
    pub(super) following: Script,
    pub(super) find: Script,
    pub(super) take: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let script = |what: &str| Script::new(&[LIVE, what].concat());
        Self {
            renew: script(RENEW),
            following: script(FOLLOWING),
            find: script(FIND),
            take: script(TAKE),
        }
    }
}
