-- Keeps what an exchange or a queue was declared with, unless it is known already.
--
-- KEYS  the hash of the exchange or queue
-- ARGV  names and values of its fields
-- Returns the values of these fields as they were; {} when they were not there and are now.
local names = {}
for at = 1, #ARGV, 2 do names[#names + 1] = ARGV[at] end
local known = redis.call('HMGET', KEYS[1], unpack(names))
if known[1] then return known end
redis.call('HSET', KEYS[1], unpack(ARGV))
return {}
