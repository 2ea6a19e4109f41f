-- Records a message that a blocking pop handed over as unacknowledged.
--
-- KEYS  unacked, unacked_index, the queue's list of malformed elements
-- ARGV  1 field, 2 the queue's name in JSON, 3 set aside what is longer than this many bytes, 4 the message
-- Returns 1, or the entry made in the malformed list (without the element if that is too long).
local text = ARGV[4]
local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
-- Redis judges memory at the first write: this one needs none.
redis.call('ZREM', KEYS[2], ARGV[1])
local reason
if #text > tonumber(ARGV[3]) then
  reason = 'larger than max_message_size'
elseif string.byte(text) ~= 123 or string.byte(text, -1) ~= 125 then
  reason = 'not a JSON object'
end
if reason then
  local header = '{"at": ' .. now .. ', "reason": "' .. reason .. '"}\n'
  redis.call('RPUSH', KEYS[3], header .. text)
  return #text > tonumber(ARGV[3]) and header or header .. text
end
redis.call('HSET', KEYS[1], ARGV[1], '[' .. text .. ',"",' .. ARGV[2] .. ']')
redis.call('ZADD', KEYS[2], now, ARGV[1])
return 1
