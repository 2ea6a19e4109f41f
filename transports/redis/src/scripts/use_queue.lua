-- Says whether a queue is there and whose it is, and notes that it is used; or removes its messages.
--
-- KEYS  1 the queue's hash, 2 its consumers, 3 consumers by lease, then its lists
-- ARGV  the name of the connection that removes them, or nothing
-- Returns {0} when it is not there, {1, who has it exclusively or "", how many messages were removed}.
-- Redis judges memory at the first write: this one needs none.
redis.call('HDEL', KEYS[1], '')
local known = redis.call('HMGET', KEYS[1], 'durable', 'owner', 'expires')
if not known[1] then return {0} end
if known[2] and not redis.call('ZSCORE', KEYS[3], known[2]) then return {0} end
local count = 0
if ARGV[1] and (not known[2] or known[2] == ARGV[1]) then
  for at = 4, #KEYS do
    count = count + redis.call('LLEN', KEYS[at])
    redis.call('DEL', KEYS[at])
  end
end
if known[3] and redis.call('HLEN', KEYS[2]) == 0 then
  redis.call('PEXPIRE', KEYS[1], known[3])
  for at = 4, #KEYS do redis.call('PEXPIRE', KEYS[at], known[3]) end
end
return {1, known[2] or '', count}
