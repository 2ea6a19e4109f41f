-- Forgets consumers of a queue.
--
-- KEYS  1 consumers of the queue, 2 its mark, 3 the entry of their connection
-- ARGV  1 the name the connection takes messages under, 2 the number of the consumer, or "" for all of the connection, 3 the queue
-- Returns how many consumers the queue still has.
local left = 0
for _, entry in ipairs(redis.call('HKEYS', KEYS[1])) do
  local name, number = string.match(entry, '^(.*):(.*)$')
  if name == ARGV[1] then
    if ARGV[2] == '' or number == ARGV[2] then
      redis.call('HDEL', KEYS[1], entry)
    else
      left = left + 1
    end
  end
end
if left == 0 then redis.call('HDEL', KEYS[3], 'queue:' .. ARGV[3]) end
local count = redis.call('HLEN', KEYS[1])
if count == 0 and redis.call('HDEL', KEYS[2], 'ranked') == 1 then redis.call('PEXPIRE', KEYS[2], 60000) end
return count
