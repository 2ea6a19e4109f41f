-- Deletes an exchange with its bindings, unless it has any and is to be kept then.
--
-- KEYS  1 the hash of the exchange
-- ARGV  1 what every key begins with, 2 the exchange, 3 "u" to keep it while it has bindings
-- Returns 1; -1 when it is kept.
if ARGV[3] == 'u' and has_bindings(ARGV[2]) then return -1 end
-- Redis judges memory at the first write: this one gives some back.
redis.call('DEL', KEYS[1])
remove_exchange(ARGV[2])
return 1
