-- Registers a consumer, or gives its sign of life.
--
-- KEYS  consumers, the consumer's own entry, dead, unacked_index
-- ARGV  1 the consumer, 2 how long the lease lasts in milliseconds
--       3 "new" to register, "" to renew
--       4 the numbers of the fields it holds, 5 from which number on there may be more
--       6 the word of the last sign of life, 7 the word of this one
--       then the fields of `unacked` that become as young as if they were delivered now
-- Returns {1, was the lease over already, milliseconds until the next lease of another ends or -1, are there dead whose turn it is};
-- {0} when the consumer was declared dead, or another process gives signs of life under its name.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Redis judges memory at the first write: this one needs none.
redis.call('HDEL', KEYS[2], '')
local lease = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not lease and (ARGV[3] ~= 'new' or redis.call('ZSCORE', KEYS[3], ARGV[1])) then return {0} end
if ARGV[3] ~= 'new' then
  local word = redis.call('HGET', KEYS[2], 'sign')
  if word and word ~= ARGV[6] and word ~= ARGV[7] then return {0} end
end
redis.call('ZADD', KEYS[1], string.format('%d', now + tonumber(ARGV[2])), ARGV[1])
redis.call('HSET', KEYS[2], 'held', ARGV[4], 'from', ARGV[5])
if ARGV[3] ~= 'new' then redis.call('HSET', KEYS[2], 'sign', ARGV[7]) end
-- The next whole second, as for what is claimed.
local stamp = string.format('%d', time[1] + 1)
for at = 8, #ARGV do redis.call('ZADD', KEYS[4], 'XX', stamp, ARGV[at]) end
local soonest = -1
local others = redis.call('ZRANGE', KEYS[1], 0, 1, 'WITHSCORES')
for at = 1, #others, 2 do
  if others[at] ~= ARGV[1] then
    soonest = math.max(0, tonumber(others[at + 1]) - now)
    break
  end
end
local over = lease and tonumber(lease) < now
local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', string.format('%d', now), 'LIMIT', 0, 1)
return {1, over and 1 or 0, soonest, #due}
