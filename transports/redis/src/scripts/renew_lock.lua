-- Makes a lock last longer, unless somebody else holds it by now.
--
-- KEYS  lock
-- ARGV  1 token, 2 milliseconds from now
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
