-- Puts copies of a message into those queues that are there.
--
-- KEYS  per queue: its hash, its list
-- ARGV  per queue: its copy
-- Returns for each queue 1, or 0 when it is not there.
local results = {}
for at = 1, #ARGV do
  local known = redis.call('EXISTS', KEYS[2 * at - 1])
  if known == 1 then
    redis.call('LPUSH', KEYS[2 * at], ARGV[at])
    local left = redis.call('PTTL', KEYS[2 * at - 1])
    if left > 0 then redis.call('PEXPIRE', KEYS[2 * at], left) end
  end
  results[at] = known
end
return results
