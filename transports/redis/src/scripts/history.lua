-- Counts what is declared, and tells how much of what was counted the server has lost.
--
-- KEYS  1 the history
-- ARGV  1 which run of the server this is, or "" where it does not say, 2 "n" to count one more, 3 a text nobody else has
-- Returns {what tells this history from one that began anew, the last number, {from, to, from, to, …}}: numbers above `from`, up to
-- `to`, were lost with a run of the server, or were never given. Nothing, 0 and {} when there is no history.
--
-- A server that starts with less than it had has also forgotten how far it had counted. So whoever comes first in a new run skips many
-- numbers: none is given twice, and those that were lost lie in the gap.
-- Redis judges memory at the first write: this one needs none.
redis.call('HDEL', KEYS[1], '')
local id = redis.call('HGET', KEYS[1], 'id')
if not id then
  if ARGV[2] ~= 'n' then return {'', 0, {}} end
  id = ARGV[3]
  redis.call('HSET', KEYS[1], 'id', id, 'run', ARGV[1], 'last', '0')
end
local run = redis.call('HGET', KEYS[1], 'run')
if ARGV[1] ~= '' and run ~= ARGV[1] then
  local last = redis.call('HGET', KEYS[1], 'last')
  local first = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'last', '4294967296'))
  redis.call('HSET', KEYS[1], 'run', ARGV[1], 'gap:' .. last, first)
end
local gaps = {}
local fields = redis.call('HGETALL', KEYS[1])
for at = 1, #fields, 2 do
  local from = string.match(fields[at], '^gap:(%d+)$')
  if from then gaps[#gaps + 1] = {tonumber(from), tonumber(fields[at + 1]), fields[at]} end
end
table.sort(gaps, function(left, right) return left[1] < right[1] end)
-- What was lost long ago was told again long ago.
while #gaps > 64 do redis.call('HDEL', KEYS[1], table.remove(gaps, 1)[3]) end
local told = {}
for _, gap in ipairs(gaps) do
  told[#told + 1] = gap[1]
  told[#told + 1] = gap[2]
end
local last = ARGV[2] == 'n' and redis.call('HINCRBY', KEYS[1], 'last', 1) or tonumber(redis.call('HGET', KEYS[1], 'last'))
return {id, last, told}
