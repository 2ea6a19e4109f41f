-- Records a message that a blocking pop handed over as unacknowledged.
--
-- KEYS  unacked, unacked_index, the queue's list of malformed elements, consumers, the consumer's own entry, the queue's definition if
--       the queue's birth is to be recorded, too
-- ARGV  1 the consumer, 2 the number of the field, 3 the queue's name in JSON, 4 set aside what is longer than this many bytes,
--       5 the message
-- Returns 1, or the entry made in the malformed list (without the element if that is too long). The error LEASELOST when the
-- consumer is not registered: nothing was recorded then.
if not redis.call('ZSCORE', KEYS[4], ARGV[1]) then
  return redis.error_reply('LEASELOST the consumer is not registered')
end
local field, number, longest, text = ARGV[1] .. ':' .. ARGV[2], tonumber(ARGV[2]), tonumber(ARGV[4]), ARGV[5]
local time = redis.call('TIME')
local now = string.format('%d.%06d', time[1], time[2])
-- Redis judges memory at the first write: this one needs none.
redis.call('ZREM', KEYS[2], field)
local reason
if #text > longest then
  reason = 'larger than max_message_size'
elseif string.byte(text) ~= 123 or string.byte(text, -1) ~= 125 then
  reason = 'not a JSON object'
end
if reason then
  local header = '{"at": ' .. now .. ', "reason": "' .. reason .. '"}\n'
  redis.call('RPUSH', KEYS[3], header .. text)
  return #text > longest and header or header .. text
end
local known = redis.call('HGET', KEYS[5], 'next')
if not known or tonumber(known) <= number then redis.call('HSET', KEYS[5], 'next', string.format('%d', number + 1)) end
local born = KEYS[6] and redis.call('HGET', KEYS[6], 'born')
if born then text = '{"queue_born": "' .. born .. '", ' .. string.sub(text, 2) end
redis.call('HSET', KEYS[1], field, '[' .. text .. ',"",' .. ARGV[3] .. ']')
-- The next whole second, as for what is claimed.
redis.call('ZADD', KEYS[2], string.format('%d', time[1] + 1), field)
return 1
