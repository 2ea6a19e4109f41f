-- Deletes a queue with its messages, unless it is kept by a condition, and marks that for its consumers.
--
-- KEYS  1 consumers of the queue, 2 its mark, 3 consumers by lease, 4 what leads to it, 5 its definition, then its lists
-- ARGV  1 what every key begins with, 2 "u" to keep it while it has consumers, 3 "e" to keep it while it has messages, 4 what tells
--       this deletion from others, 5 the queue
-- Returns how many messages went with it; -1 when it is kept for its consumers, -2 when for its messages.
local count = 0
for at = 6, #KEYS do count = count + redis.call('LLEN', KEYS[at]) end
local entries = redis.call('HKEYS', KEYS[1])
if ARGV[2] == 'u' then
  for _, entry in ipairs(entries) do
    if redis.call('ZSCORE', KEYS[3], string.match(entry, '^(.*):')) then return -1 end
  end
end
if ARGV[3] == 'e' and count > 0 then return -2 end
-- Redis judges memory at the first write: this one gives some back.
redis.call('DEL', KEYS[1], unpack(KEYS, 5))
end_bindings(KEYS[4])
redis.call('HDEL', ARGV[1] .. '_kombu.rs.policies', ARGV[5])
redis.call('HDEL', ARGV[1] .. '_kombu.rs.sizes', ARGV[5])
redis.call('ZREM', ARGV[1] .. '_kombu.rs.due', 'q' .. ARGV[5])
if #entries > 0 then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[2], 'deleted', ARGV[4])
  redis.call('PEXPIRE', KEYS[2], 60000)
end
return count
