-- Puts copies of a message into those queues that are there.
--
-- KEYS  per queue: its hash, its list
-- ARGV  per queue: its copy
-- Returns for each queue 1, or 0 when it is not there. When one is refused, none gets a copy and the refusal is returned.
local results = {}
for at = 1, #ARGV do
  local known = redis.call('EXISTS', KEYS[2 * at - 1])
  if known == 1 then
    local pushed = redis.pcall('LPUSH', KEYS[2 * at], ARGV[at])
    if type(pushed) == 'table' then
      for back = 1, at - 1 do
        if results[back] == 1 then redis.call('LPOP', KEYS[2 * back]) end
      end
      return pushed
    end
    local left = redis.call('PTTL', KEYS[2 * at - 1])
    if left > 0 then redis.call('PEXPIRE', KEYS[2 * at], left) end
  end
  results[at] = known
end
return results
