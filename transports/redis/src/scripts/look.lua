-- Looks at queues: takes out what has expired and what is too much. Without a queue to look at, at everything that is due; then letters
-- are among what is returned whose first reader had time enough to send them on.
--
-- ARGV  then queues
-- The number is how many things were due.
-- Redis judges memory at the first write: this one needs none.
redis.call('ZREM', KEYS[2], '')
local met = 0
if ARGV[rest] then
  for at = rest, #ARGV do look_at(ARGV[at]) end
else
  local bytes = 0
  local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%d', now), 'LIMIT', 0, 100)
  for _, member in ipairs(due) do
    local kind, name = sub(member, 1, 1), sub(member, 2)
    local text = kind == 'l' and redis.call('HGET', KEYS[3], name)
    met = met + 1
    if kind == 'q' then
      look_at(name)
    elseif text then
      redis.call('ZADD', KEYS[2], string.format('%d', now + GRACE), member)
      letters[#letters + 1] = name
      letters[#letters + 1] = text
      bytes = bytes + #text
      if bytes > 8388608 then break end
    else
      redis.call('ZREM', KEYS[2], member)
    end
  end
end
local following = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
return {now, tonumber(following[2]) or -1, {met}, letters}
