-- Binds a queue or an exchange to an exchange.
--
-- KEYS  1 the hash of the exchange, 2 its table, 3 its permanent table, 4 what leads to the destination, 5 the destination's hash
-- ARGV  1 what every key begins with, 2 the exchange, 3 the field or member, 4 the same for the list of what leads to the destination,
--       5 "r" if both must be known
-- Returns 1; 0 when the exchange is not known, -1 when the destination is not.
if ARGV[5] == 'r' then
  if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
  if redis.call('EXISTS', KEYS[5]) == 0 then return -1 end
end
if is_field(ARGV[3]) then
  redis.call('HSET', KEYS[1], ARGV[3], '1')
else
  redis.call('SADD', KEYS[2], ARGV[3])
  redis.call('SADD', KEYS[3], ARGV[3])
end
redis.call('SADD', KEYS[4], ARGV[4])
return 1
