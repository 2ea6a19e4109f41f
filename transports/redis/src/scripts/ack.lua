-- Forgets messages.
--
-- KEYS  unacked, unacked_index
-- ARGV  their tags, at most 1000
-- Returns the numbers, from 0, of the tags that were gone: somebody else has given those messages back.
local removed = redis.call('ZREM', KEYS[2], unpack(ARGV))
local gone = {}
if removed == #ARGV then
  redis.call('HDEL', KEYS[1], unpack(ARGV))
  return gone
end
for number, tag in ipairs(ARGV) do
  if redis.call('HDEL', KEYS[1], tag) == 0 then gone[#gone + 1] = number - 1 end
end
return gone
