-- Makes a queue, unless it is there.
--
-- KEYS  1 its hash, 2 consumers by lease, 3 the entry of the connection, 4 what leads to the queue, then its lists
-- ARGV  1 what every key begins with, 2 the queue, 3 who has it exclusively, or "", 4 after how many milliseconds without use it goes, or
--       "", 5 those of its arguments that are a policy, or "", 6 "a" when it was lost and is made again: what leads there was made again,
--       too; then names and values of its fields, the arguments last
-- Returns {} when it is made; else who has it exclusively, or "", and the values of these fields.
local names = {}
for at = 7, #ARGV, 2 do names[#names + 1] = ARGV[at] end
local known = redis.call('HMGET', KEYS[1], unpack(names))
local owner = redis.call('HGET', KEYS[1], 'owner')
local policies = prefix .. '_kombu.rs.policies'
if known[1] and not (owner and not redis.call('ZSCORE', KEYS[2], owner)) then
  if ARGV[5] ~= '' and known[#known] == ARGV[#ARGV] then redis.call('HSET', policies, ARGV[2], ARGV[5]) end
  table.insert(known, 1, owner or '')
  return known
end
-- What is left of one that expired, or whose owner died, goes.
if known[1] or ARGV[6] ~= 'a' then end_bindings(KEYS[4]) end
redis.call('DEL', KEYS[1])
redis.call('HDEL', policies, ARGV[2])
if known[1] then redis.call('DEL', unpack(KEYS, 5)) end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'born', string.format('%d%06d', time[1], time[2]), unpack(ARGV, 7))
if ARGV[5] ~= '' then redis.call('HSET', policies, ARGV[2], ARGV[5]) end
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'owner', ARGV[3])
  redis.call('HSET', KEYS[3], 'exclusive:' .. ARGV[2], '1')
end
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'expires', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return {}
