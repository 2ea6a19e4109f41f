-- Forgets messages.
--
-- KEYS  unacked, unacked_index, consumers
-- ARGV  their tags, at most 1000
-- Returns what was gone: the number of the tag, from 1, negative when its consumer is no longer registered.
local removed = redis.call('ZREM', KEYS[2], unpack(ARGV))
local gone = {}
if removed == #ARGV then
  redis.call('HDEL', KEYS[1], unpack(ARGV))
  return gone
end
for number, tag in ipairs(ARGV) do
  if redis.call('HDEL', KEYS[1], tag) == 0 then
    local lives = redis.call('ZSCORE', KEYS[3], string.match(tag, '^(.*):') or tag)
    gone[#gone + 1] = lives and number or -number
  end
end
return gone
