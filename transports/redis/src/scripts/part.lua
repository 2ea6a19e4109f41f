-- Forgets consumers of a queue.
--
-- KEYS  1 consumers of the queue, 2 its mark, 3 the entry of their connection, 4 what leads to the queue, 5 its hash, then its lists
-- ARGV  1 what every key begins with, 2 the name the connection takes messages under, 3 the number of the consumer, or "" for all of
--       the connection, 4 the queue
-- Returns how many consumers the queue still has.
local left, left_any = 0, false
for _, entry in ipairs(redis.call('HKEYS', KEYS[1])) do
  local name, number = string.match(entry, '^(.*):(.*)$')
  if name == ARGV[2] then
    if ARGV[3] == '' or number == ARGV[3] then
      redis.call('HDEL', KEYS[1], entry)
      left_any = true
    else
      left = left + 1
    end
  end
end
if left == 0 then redis.call('HDEL', KEYS[3], 'queue:' .. ARGV[4]) end
local count = redis.call('HLEN', KEYS[1])
if count == 0 and redis.call('HDEL', KEYS[2], 'ranked') == 1 then redis.call('PEXPIRE', KEYS[2], 60000) end
local known = redis.call('HMGET', KEYS[5], 'auto_delete', 'expires')
if count == 0 and left_any then
  if known[1] == '1' then
    -- An auto-delete queue goes with its last consumer.
    redis.call('DEL', unpack(KEYS, 5))
    redis.call('HDEL', prefix .. '_kombu.rs.policies', ARGV[4])
    end_bindings(KEYS[4])
  elseif known[2] then
    for at = 5, #KEYS do redis.call('PEXPIRE', KEYS[at], known[2]) end
  end
end
return count
