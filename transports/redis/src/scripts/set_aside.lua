-- Moves an unacknowledged message to a list of malformed elements.
--
-- KEYS  unacked, unacked_index, the list
-- ARGV  1 tag, 2 the reason in JSON
-- Returns 1, or 0 if it was gone.
local value = redis.call('HGET', KEYS[1], ARGV[1])
local score = redis.call('ZSCORE', KEYS[2], ARGV[1])
-- Redis judges memory at the first write: this one needs none.
redis.call('ZREM', KEYS[2], ARGV[1])
if not value then return 0 end
local time = redis.call('TIME')
local header = string.format('{"at": %d.%06d, "reason": ', time[1], time[2]) .. ARGV[2] .. '}\n'
local refused = redis.pcall('RPUSH', KEYS[3], header .. (envelope_of(value) or value))
if type(refused) == 'table' then
  if score then redis.call('ZADD', KEYS[2], score, ARGV[1]) end
  return refused
end
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
