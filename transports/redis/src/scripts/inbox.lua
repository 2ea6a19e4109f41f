-- Notes the inboxes of a consumer before anything is moved into them, and the clients that wait for that.
--
-- KEYS  consumers, the consumer's own entry
-- ARGV  1 the consumer, then names and values of its entry
-- Returns 1; 0 when the consumer is not registered.
-- Redis judges memory at the first write: this one needs none.
redis.call('HDEL', KEYS[2], '')
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
return 1
