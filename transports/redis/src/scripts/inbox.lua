-- Notes the inboxes of a consumer before anything is moved into them, and the clients that wait for that.
--
-- KEYS  consumers, the consumer's own entry
-- ARGV  1 the consumer, then names and values of its entry; a name after a minus goes, whatever the value
-- Returns 1; 0 when the consumer is not registered.
-- Redis judges memory at the first write: this one needs none.
redis.call('HDEL', KEYS[2], '')
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
for at = 2, #ARGV, 2 do
  local name = ARGV[at]
  if string.byte(name) == 45 then
    redis.call('HDEL', KEYS[2], string.sub(name, 2))
  else
    redis.call('HSET', KEYS[2], name, ARGV[at + 1])
  end
end
return 1
