-- Ends bindings of a queue or an exchange to an exchange.
--
-- KEYS  1 what leads to the destination
-- ARGV  1 what every key begins with, 2 the exchange, then fields or members, each followed by the same for the list of what leads
--       to the destination
-- Returns 1.
-- Redis judges memory at the first write: this one needs none.
redis.call('SREM', KEYS[1], '')
for at = 3, #ARGV, 2 do
  redis.call('SREM', KEYS[1], ARGV[at + 1])
  end_binding(ARGV[2], ARGV[at])
end
return 1
