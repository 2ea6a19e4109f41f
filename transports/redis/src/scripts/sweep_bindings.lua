-- Removes binding tables of exchanges whose expiring queues have all gone. A table with a queue that does not expire stays.
--
-- KEYS  deadlines
-- ARGV  1 and 2 what the keys of binding tables and of the permanent ones begin with, 3 how many exchanges at most
-- Returns how many exchanges were looked at.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now), 'LIMIT', 0, ARGV[3])
for _, exchange in ipairs(due) do
  if redis.call('EXISTS', ARGV[2] .. exchange) == 0 then redis.call('DEL', ARGV[1] .. exchange) end
  redis.call('ZREM', KEYS[1], exchange)
end
return #due
