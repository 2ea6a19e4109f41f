-- Gives back what is in the inboxes of a consumer, and forgets the consumer.
--
-- KEYS  consumers, dead, the consumer's own entry, then per inbox: the inbox, the list it was filled from
-- ARGV  1 the consumer
--       2 "forget" to forget it, "die" to end its lease now so that others look after what it held, "" to do neither
-- Returns how many messages went back.
local count = 0
for at = 4, #KEYS, 2 do
  -- An inbox is filled at its head, so its head is the youngest: the oldest goes back last and is served first.
  local text = redis.pcall('LPOP', KEYS[at])
  while type(text) == 'string' do
    local pushed = redis.pcall('RPUSH', KEYS[at + 1], text)
    if type(pushed) == 'table' then
      redis.call('LPUSH', KEYS[at], text)
      break
    end
    count = count + 1
    text = redis.pcall('LPOP', KEYS[at])
  end
end
if ARGV[2] == 'forget' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('DEL', KEYS[3])
elseif ARGV[2] == 'die' then
  redis.call('ZREM', KEYS[2], '')
  redis.call('ZADD', KEYS[1], 'XX', '1', ARGV[1])
end
return count
