-- Notes whether a consumer has room for messages, if it is still known.
--
-- KEYS  1 consumers of the queue
-- ARGV  1 the consumer's entry, 2 "f" if it has none, "" if it has
-- Returns 1 when it is known.
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not known then return 0 end
local letters = string.gsub(string.match(known, '%S*$'), 'f', '')
redis.call('HSET', KEYS[1], ARGV[1], string.match(known, '^%S* %S* ') .. letters .. ARGV[2])
return 1
