-- Takes unacknowledged messages that died out of the record, in one step with leaving them to whoever routes them.
--
-- KEYS  5 unacked, 6 unacked_index
-- ARGV  then per message: its tag, its queue, why it died
-- The numbers say for each message 1 done, 0 gone already, -2 not a message: left where it is.
local results = {}
for at = rest, #ARGV, 3 do
  local tag = ARGV[at]
  local value = redis.call('HGET', KEYS[5], tag)
  local text, born, queue
  if value then text, born, queue = envelope_of(value) end
  if value and not text then
    results[#results + 1] = -2
  else
    -- Redis judges memory at the first write: this one needs none.
    redis.call('ZREM', KEYS[6], tag)
    redis.call('HDEL', KEYS[5], tag)
    -- What was taken of a queue that is gone by now is nobody's.
    if text and not is_gone(prefix, born, queue) then bury(ARGV[at + 1], text, ARGV[at + 2]) end
    results[#results + 1] = text and 1 or 0
  end
end
return {now, -1, results, letters}
