-- Finds a consumer whose lease is over, or a dead one whose turn it is to be looked after again.
--
-- KEYS  consumers, dead
-- ARGV  1 what keys of consumers' entries begin with, 2 for how many milliseconds nobody else needs to look
-- Returns {the consumer, now in milliseconds, field, value, …}: its entry; {} when there is none.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Redis judges memory at the first write: this one needs none.
redis.call('ZREM', KEYS[2], '')
local stamp = string.format('%d', now)
local consumer = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', stamp, 'LIMIT', 0, 1)[1]
if consumer then
  redis.call('ZREM', KEYS[1], consumer)
  redis.call('HSET', ARGV[1] .. consumer, 'died', stamp)
else
  consumer = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', stamp, 'LIMIT', 0, 1)[1]
end
if not consumer then return {} end
redis.call('ZADD', KEYS[2], string.format('%d', now + tonumber(ARGV[2])), consumer)
return {consumer, now, unpack(redis.call('HGETALL', ARGV[1] .. consumer))}
