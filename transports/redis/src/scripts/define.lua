-- Keeps what an exchange or a queue was declared with, unless it is known already.
--
-- KEYS  1 the hash of the exchange or queue, 2 policies by queue
-- ARGV  1 the queue, 2 those of its arguments that are a policy, or "", then names and values of its fields, the arguments last
-- Returns the values of these fields as they were; {} when they were not there and are now.
local names = {}
for at = 3, #ARGV, 2 do names[#names + 1] = ARGV[at] end
local known = redis.call('HMGET', KEYS[1], unpack(names))
if not known[1] then redis.call('HSET', KEYS[1], unpack(ARGV, 3)) end
-- What says the same twice says it in one step.
if ARGV[2] ~= '' and (not known[1] or known[#known] == ARGV[#ARGV]) then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
end
return known[1] and known or {}
