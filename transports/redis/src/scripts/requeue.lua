-- Gives unacknowledged messages back to lists, at the end that is served next.
--
-- KEYS  unacked, unacked_index, then lists
-- ARGV  1 leave alone what was recorded or renewed after this time (seconds since 1970), or "", 2 what every key begins with
--       then per message, the one to be served last first:
--         its tag
--         "1" if it was handed to the application, "0" if not: then it goes back as it is
--         how many lists it goes to, then for each of them
--           the number of the list, from 1
--           the delivery tag to give that copy, or "" for the one it has
-- Returns per message 1 given back, 0 gone already, -1 left alone, -2 not a message: left where it is, -3 its list takes
-- nothing: left where it is. What was taken of a queue that is gone by now counts as given back.
local after = tonumber(ARGV[1])

local function give_back(tag, again, first, count)
  local value = redis.call('HGET', KEYS[1], tag)
  local score = redis.call('ZSCORE', KEYS[2], tag)
  if after and score and tonumber(score) > after then return -1 end
  if not value then
    redis.call('ZREM', KEYS[2], tag)
    return 0
  end
  local text, born, queue = envelope_of(value)
  if is_gone(ARGV[2], born, queue) then
    redis.call('ZREM', KEYS[2], tag)
    redis.call('HDEL', KEYS[1], tag)
    return 1
  end
  local copies = {}
  for at = first, first + 2 * count - 1, 2 do
    local copy = text and given_back(text, again, ARGV[at + 1])
    if not copy then return -2 end
    copies[#copies + 1] = {KEYS[2 + tonumber(ARGV[at])], copy}
  end
  -- Redis judges memory at the first write: this one needs none.
  redis.call('ZREM', KEYS[2], tag)
  local given = 0
  for _, copy in ipairs(copies) do
    if type(redis.pcall('RPUSH', copy[1], copy[2])) == 'number' then given = given + 1 end
  end
  if given == 0 then
    if score then redis.call('ZADD', KEYS[2], score, tag) end
    return -3
  end
  redis.call('HDEL', KEYS[1], tag)
  return 1
end

local results = {}
local at = 3
while ARGV[at] do
  local count = tonumber(ARGV[at + 2])
  results[#results + 1] = give_back(ARGV[at], ARGV[at + 1] == '1', at + 3, count)
  at = at + 3 + 2 * count
end
return results
