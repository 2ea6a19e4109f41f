-- Notes a consumer of a queue, unless one that is to be alone keeps it out.
--
-- KEYS  1 consumers of the queue, 2 its mark, 3 consumers by lease, 4 the entry of the connection, 5 the definition of the queue,
--       then its lists
-- ARGV  1 the name the connection takes messages under, 2 the number of the consumer, 3 the queue, 4 the consumer's priority,
--       5 "x" if it is to be alone, 6 "r" if the queue must have a definition
-- Returns {1, what tells the last deletion of the queue from others, or "", do some consumers come before others}; {0} when it is
-- kept out; {-1} when the name is not registered, {-2} when the queue is not there.
--
-- A consumer is noted as `<name>:<number>` with when it came, its priority, and letters: x when it is alone, f while it has no room.
if not redis.call('ZSCORE', KEYS[3], ARGV[1]) then return {-1} end
if ARGV[6] == 'r' and redis.call('EXISTS', KEYS[5]) == 0 then return {-2} end
-- Redis judges memory at the first write: this one needs none.
redis.call('HDEL', KEYS[1], '')
local own = ARGV[1] .. ':' .. ARGV[2]

-- Says whether somebody else has the entry, and lives.
local function is_other(entry)
  if entry == own then return false end
  if redis.call('ZSCORE', KEYS[3], string.match(entry, '^(.*):')) then return true end
  redis.call('HDEL', KEYS[1], entry)
  return false
end

-- Who is alone is the only one.
if ARGV[5] == 'x' or redis.call('HLEN', KEYS[1]) == 1 then
  local entries = redis.call('HGETALL', KEYS[1])
  for at = 1, #entries, 2 do
    if (ARGV[5] == 'x' or string.find(entries[at + 1], 'x$')) and is_other(entries[at]) then return {0} end
  end
end
if redis.call('HEXISTS', KEYS[1], own) == 0 then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], own, string.format('%d%06d %s %s', time[1], time[2], ARGV[4], ARGV[5]))
end
redis.call('HSET', KEYS[4], 'queue:' .. ARGV[3], '1')
if redis.call('HEXISTS', KEYS[5], 'expires') == 1 then
  -- While it has consumers it does not go.
  for at = 5, #KEYS do redis.call('PERSIST', KEYS[at]) end
end
local arguments = redis.call('HGET', KEYS[5], 'arguments')
local single = arguments and string.find(arguments, '"x-single-active-consumer": true', 1, true)
if single or ARGV[4] ~= '0' then
  redis.call('HSET', KEYS[2], 'ranked', single and 'single' or 'priority')
  redis.call('PERSIST', KEYS[2])
end
local mark = redis.call('HMGET', KEYS[2], 'deleted', 'ranked')
return {1, mark[1] or '', mark[2] and 1 or 0}
