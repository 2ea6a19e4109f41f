-- Puts a message into queues that have a policy, or one that expires into any; holds one back until it is due; or sends a letter on,
-- which is then gone from where it waited.
--
-- ARGV  then the id of the letter, or "", then per place
--         1 "q" and the queue, "r" and the queue if it gets a copy only when it has a definition, or "h" and an id under which it is
--           held back
--         2 the number of the list it goes to
--         3 how many milliseconds until it expires, "" for never; or until which it is held back
--         4 how many milliseconds the lists stay, or ""
--         5 the message
-- The numbers are those of the places that were full, from 1, and the negative ones of those that are not there; 0 when the letter was
-- gone: nothing was done then.
local letter = ARGV[rest]
if letter ~= '' then
  if redis.call('HEXISTS', KEYS[3], letter) == 0 then return {now, -1, {0}, {}} end
  -- Redis judges memory at the first write: this one needs none.
  redis.call('ZREM', KEYS[2], 'l' .. letter)
end
local full, stored, failed = {}, 0, nil

local function definition_of(queue)
  return prefix .. '_kombu.rs.queue.' .. queue
end

local function put(queue, is_checked, step, ttl, expires, text)
  local policy = policy_of(queue)
  local overflow = policy['x-overflow'] or 'drop-head'
  if overflow ~= 'drop-head' and is_full(queue, body_size(text)) then
    if overflow == 'reject-publish-dlx' then bury(queue, text, 'maxlen') end
    return true
  end
  local own = policy['x-message-ttl']
  if own then ttl = math.min(ttl or own, own) end
  local due = ttl and (ttl > 0 and now + ttl or 0)
  if due then text = with_expiry(text, due) end
  local size = policy['x-max-length-bytes'] and size_at_most(queue, count_of(queue))
  local pushed = redis.pcall('LPUSH', key_of(queue, step), text)
  if type(pushed) == 'table' then
    failed = failed or pushed
    return false
  end
  stored = stored + 1
  if size then note_size(queue, count_of(queue), size + body_size(text)) end
  local left = is_checked and redis.call('PTTL', definition_of(queue)) or 0
  if left > 0 then expires = left end
  if expires then
    for each = 1, steps do redis.call('PEXPIRE', key_of(queue, each), expires) end
  end
  if due then note_due('q' .. queue, due > 0 and due or now + MOMENT) end
  shrink(queue)
  return false
end

for at = rest + 1, #ARGV, 5 do
  local kind, name, text = sub(ARGV[at], 1, 1), sub(ARGV[at], 2), ARGV[at + 4]
  local span = tonumber(ARGV[at + 2])
  if kind == 'h' then
    keep_letter(name, {reason = 'delayed'}, text)
    note_due('l' .. name, now + span)
    stored = stored + 1
  elseif kind == 'r' and redis.call('EXISTS', definition_of(name)) == 0 then
    full[#full + 1] = -(at - rest - 1) / 5 - 1
  elseif put(name, kind == 'r', tonumber(ARGV[at + 1]), span, tonumber(ARGV[at + 3]), text) then
    full[#full + 1] = (at - rest - 1) / 5 + 1
  end
end
if failed and stored == 0 and #full == 0 then
  if letter ~= '' then redis.call('ZADD', KEYS[2], string.format('%d', now + GRACE), 'l' .. letter) end
  return failed
end
if letter ~= '' then
  redis.call('HDEL', KEYS[3], letter)
elseif failed then
  return failed
end
return {now, first or -1, full, letters}
