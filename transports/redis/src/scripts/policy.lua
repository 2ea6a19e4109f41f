-- What becomes of messages in queues that have a policy. The scripts that begin with this have in common:
--
-- KEYS  1 policies by queue, 2 what is due, 3 letters, 4 how much queues hold
-- ARGV  1 what every key begins with, 2 how many lists a queue has, then what each of them ends with, in order of serving
-- They return {the server's time in milliseconds, when something is due or -1, numbers, {id, letter, id, letter, …}}.
--
-- A policy is the arguments the queue was declared with, in JSON. A message that expires begins with `{"expires_at": `, in
-- milliseconds since 1970; 0 means at once, unless a consumer waits for it. A letter is a line of JSON, and the message behind it: it waits to be
-- routed by a client, any one, that takes it away in one step with putting it where it goes.

local byte, find, sub = string.byte, string.find, string.sub

-- For how long whoever met a letter has it for itself.
local GRACE = 5000
-- For how long a message that expires at once is left to a consumer that waits.
local MOMENT = 500
-- How many messages leave a queue in one go.
local AT_ONCE = 500

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local prefix, steps = ARGV[1], tonumber(ARGV[2])
-- The place of the first argument that is not about keys.
local rest = 3 + steps
local letters, serial = {}, 0
local first, known = nil, {}

local function policy_of(queue)
  if not known[queue] then
    local text = redis.call('HGET', KEYS[1], queue)
    local is_read, policy = pcall(cjson.decode, text or '{}')
    known[queue] = is_read and type(policy) == 'table' and policy or {}
  end
  return known[queue]
end

local function key_of(queue, step)
  return prefix .. queue .. ARGV[2 + step]
end

local function expiry_of(text)
  local at = string.match(text, '^{"expires_at": (%d+),')
  return at and tonumber(at)
end

local function with_expiry(text, at)
  return string.format('{"expires_at": %d, ', at) .. sub(text, 2)
end

-- Sees to it that `member` is looked at by then, and tells the caller if nobody expected that so early.
local function note_due(member, at)
  local noted = redis.call('ZSCORE', KEYS[2], member)
  if noted and tonumber(noted) <= at then return end
  redis.call('ZADD', KEYS[2], string.format('%d', at), member)
  if not first or at < first then first = at end
end

local function keep_letter(id, header, text)
  header['at'] = 0
  local line = string.gsub(cjson.encode(header), '"at":0', string.format('"at":%d.%06d', time[1], time[2]), 1)
  redis.call('HSET', KEYS[3], id, line .. '\n' .. text)
  return line .. '\n' .. text
end

-- Leaves a message that died to whoever routes it; without a dead-letter exchange it is gone.
local function bury(queue, text, reason)
  local policy = policy_of(queue)
  if not policy['x-dead-letter-exchange'] then return end
  local id
  repeat
    serial = serial + 1
    id = string.format('%d.%06d.%06d', time[1], time[2], serial)
  until redis.call('HEXISTS', KEYS[3], id) == 0
  local header = {queue = queue, reason = reason, exchange = policy['x-dead-letter-exchange']}
  header['routing_key'] = policy['x-dead-letter-routing-key']
  letters[#letters + 1] = id
  letters[#letters + 1] = keep_letter(id, header, text)
  redis.call('ZADD', KEYS[2], string.format('%d', now + GRACE), 'l' .. id)
end

-- Returns the size of a body before it was written as text.
local function body_size(text)
  local _, from = find(text, '"body": "', 1, true)
  local to = from and find(text, '"', from + 1, true)
  if not to then return 0 end
  local length = to - from - 1
  if not find(text, '"body_encoding": "base64"', to, true) then return length end
  local padding = 0
  while padding < 2 and byte(text, to - 1 - padding) == 61 do padding = padding + 1 end
  return math.floor(length / 4) * 3 - padding
end

local function count_of(queue)
  local count = 0
  for step = 1, steps do
    local length = redis.pcall('LLEN', key_of(queue, step))
    if type(length) == 'number' then count = count + length end
  end
  return count
end

-- Returns the size of all bodies, by a look at each.
local function size_of(queue)
  local size = 0
  for step = 1, steps do
    local at = 0
    repeat
      local texts = redis.pcall('LRANGE', key_of(queue, step), at, at + 99)
      if texts.err then break end
      for _, text in ipairs(texts) do size = size + body_size(text) end
      at = at + 100
    until #texts < 100
  end
  return size
end

-- Returns what the size of all bodies is at most: what was noted when the queue held as many messages, or more of which some were taken.
-- What Kombu pushes in place of what was taken is not noticed, until there are more.
local function size_at_most(queue, count)
  local noted = redis.call('HGET', KEYS[4], queue)
  local noted_count, noted_size = string.match(noted or '', '^(%d+) (%d+)$')
  if noted_count and tonumber(noted_count) >= count then return tonumber(noted_size) end
  return size_of(queue)
end

local function note_size(queue, count, size)
  if count == 0 then
    redis.call('HDEL', KEYS[4], queue)
  else
    redis.call('HSET', KEYS[4], queue, string.format('%d %d', count, size))
  end
end

-- Says whether a queue that refuses messages is full, for one more with a body of `size` bytes.
local function is_full(queue, size)
  local policy = policy_of(queue)
  local most, most_size = policy['x-max-length'], policy['x-max-length-bytes']
  if not most and not most_size then return false end
  local count = count_of(queue)
  if most and count >= most then return true end
  if not most_size or size_at_most(queue, count) + size <= most_size then return false end
  local held = size_of(queue)
  note_size(queue, count, held)
  return held + size > most_size
end

-- Takes the oldest messages out of a queue that holds more than it may.
local function shrink(queue)
  local policy = policy_of(queue)
  local most, most_size = policy['x-max-length'], policy['x-max-length-bytes']
  if not most and not most_size then return end
  local count = count_of(queue)
  local size = most_size and size_at_most(queue, count) or 0
  if most_size and size > most_size then size = size_of(queue) end
  local drops = (policy['x-overflow'] or 'drop-head') == 'drop-head'
  local step, dropped = 1, 0
  while drops and step <= steps and (most and count > most or most_size and size > most_size) do
    if dropped == AT_ONCE then
      note_due('q' .. queue, now)
      break
    end
    local text = redis.pcall('RPOP', key_of(queue, step))
    if type(text) == 'string' then
      count = count - 1
      dropped = dropped + 1
      if most_size then size = size - body_size(text) end
      bury(queue, text, 'maxlen')
    else
      step = step + 1
    end
  end
  if most_size then note_size(queue, count, size) end
end

-- Gives messages their time that somebody put there who knows nothing of this: it begins now.
local function stamp(key, ttl)
  local texts = redis.call('LRANGE', key, -AT_ONCE, -1)
  for index, text in ipairs(texts) do
    if byte(text) == 123 and not expiry_of(text) then
      redis.pcall('LSET', key, index - #texts - 1, with_expiry(text, now + ttl))
    end
  end
end

-- Takes what has expired from the heads of a queue's lists, and notes when to look again.
local function look_at(queue)
  local ttl = policy_of(queue)['x-message-ttl']
  local soonest
  local left = AT_ONCE
  for step = 1, steps do
    local key = key_of(queue, step)
    while true do
      local text = redis.pcall('LINDEX', key, -1)
      if type(text) ~= 'string' then break end
      local at = expiry_of(text)
      if not at and ttl and byte(text) == 123 then
        stamp(key, ttl)
        at = expiry_of(redis.call('LINDEX', key, -1))
      end
      if not at then break end
      if at > now or left == 0 then
        soonest = math.min(soonest or at, at)
        break
      end
      redis.call('RPOP', key)
      left = left - 1
      bury(queue, text, 'expired')
    end
  end
  shrink(queue)
  redis.call('ZREM', KEYS[2], 'q' .. queue)
  if soonest then note_due('q' .. queue, math.max(soonest, now)) end
end
