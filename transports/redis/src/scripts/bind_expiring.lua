-- Binds queues that expire, and says until when the table is needed. Also renews that.
--
-- KEYS  binding table, deadlines
-- ARGV  1 how long the bindings last in milliseconds, 2 the exchange, then the members of the table
local time = redis.call('TIME')
local deadline = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
redis.call('SADD', KEYS[1], unpack(ARGV, 3))
return redis.call('ZADD', KEYS[2], 'GT', string.format('%d', deadline), ARGV[2])
