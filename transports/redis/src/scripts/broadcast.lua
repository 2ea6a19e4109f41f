-- Publishes a broadcast message to whoever listens, and puts a copy into every stored queue that it matches.
--
-- KEYS  stored queues of the exchange, letters where one is sent on
-- ARGV  1 the channel, 2 the routing key, or nothing where bindings have none to match, 3 what separates the parts of a member,
--       4 what every key begins with, 5 what the list of the message's priority ends with, 6 the message,
--       7 the id of the letter that is sent on, or "": when it is gone, nothing is done
--       8 how many milliseconds until the message expires, or "", 9 "r" if only queues with a definition get a copy, then queues that
--       have the message already
-- Returns how many listen, how many of the queues are to be looked at for their policy, and which queues got a copy now. When one of
-- them, or the channel, is refused, nobody gets a copy and the refusal is returned.
--
-- A member is a binding key, the separator, and a queue. The copy that is published names, by their hashes, the queues that have
-- one of their own, now or from before, so that their consumers leave it alone.
local letter = (ARGV[7] or '') ~= '' and redis.call('HGET', KEYS[2], ARGV[7])
if letter then
  redis.call('HDEL', KEYS[2], ARGV[7])
elseif (ARGV[7] or '') ~= '' then
  return {0, 0, {}}
end
local names, stored, lists, done, due = {}, {}, {}, {}, 0

-- Nobody has seen anything yet: whoever is told that nothing was sent may send it again.
local function undo(refused)
  for _, list in ipairs(lists) do redis.call('LPOP', list) end
  if letter then redis.call('HSET', KEYS[2], ARGV[7], letter) end
  return refused
end

local function is_refused(answer)
  return type(answer) == 'table' and answer.err ~= nil
end

for at = 10, #ARGV do
  done[ARGV[at]] = true
  names[#names + 1] = redis.sha1hex(ARGV[at])
end
local ttl = tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local copy = ARGV[6]
if ttl then copy = string.format('{"expires_at": %d, ', ttl > 0 and now + ttl or 0) .. string.sub(copy, 2) end
local members = redis.pcall('SMEMBERS', KEYS[1])
if is_refused(members) then return undo(members) end
for _, member in ipairs(members) do
  local at = string.find(member, ARGV[3], 1, true)
  local key, queue = string.sub(member, 1, at - 1), string.sub(member, at + #ARGV[3])
  -- As for who listens: both wildcards match any text, all else only itself, and a binding without a key only messages
  -- without, as no other does.
  local pattern = '^' .. string.gsub(string.gsub(key, '[%^%$%(%)%%%.%[%]%+%-%?]', '%%%0'), '[*#]', '.*') .. '$'
  if not done[queue] and (key == '') == (ARGV[2] == '') and string.find(ARGV[2], pattern) then
    done[queue] = true
    if ARGV[9] == 'r' and redis.call('EXISTS', ARGV[4] .. '_kombu.rs.queue.' .. queue) == 0 then
      redis.call('SREM', KEYS[1], member)
    else
      local list = ARGV[4] .. queue .. ARGV[5]
      local answer = redis.pcall('LPUSH', list, copy)
      if is_refused(answer) then return undo(answer) end
      lists[#lists + 1] = list
      answer = ttl and 1 or redis.pcall('HEXISTS', ARGV[4] .. '_kombu.rs.policies', queue)
      if answer == 1 then
        answer = redis.pcall('ZADD', ARGV[4] .. '_kombu.rs.due', 'LT', string.format('%d', now), 'q' .. queue)
        due = due + 1
      end
      if is_refused(answer) then return undo(answer) end
      stored[#stored + 1] = queue
      names[#names + 1] = redis.sha1hex(queue)
    end
  end
end
local message = ARGV[6]
if #names > 0 then
  message = '{"stored": "' .. table.concat(names, ' ') .. '", ' .. string.sub(message, 2)
end
local heard = redis.pcall('PUBLISH', ARGV[1], message)
if is_refused(heard) then return undo(heard) end
return {heard, due, stored}
