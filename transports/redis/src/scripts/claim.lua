-- Takes messages off lists and records them as unacknowledged, in one step.
--
-- KEYS  unacked, unacked_index, consumers, the consumer's own entry, then L lists in the order in which they are served, then
--       inboxes
-- ARGV  1 how many messages at most
--       2 stop after this many bytes
--       3 set aside what is longer than this many bytes
--       4 the consumer: what the fields of `unacked` begin with, before a colon
--       5 the number of the first field
--       6 what keys of lists of malformed elements begin with
--       7 L
--       8 Q
--       then per queue: "a" (recorded), "r" (recorded with the birth of the queue) or "n" (no acknowledgement) and how many messages
--       at most; its name in JSON
--       then per list: the number of its queue, from 1
--       then per inbox: the number of the list, from 1, that its elements were taken from
-- Returns {list, text, list, text, …}: the messages in the order taken, numbered on from ARGV[5] if recorded. A negative
-- list stands for an element that was set aside; the text is then the entry made in the malformed list (without the element if
-- that is too long). The error LEASELOST when the consumer is not registered, or the
-- first field was passed already by another process with its name: nothing was taken then.
--
-- A list that cannot be read, or whose malformed list cannot be written, is left alone: the others are served all the same, and the
-- error is returned only when there is nothing else to return.
--
-- The inboxes of a list are served before it; what is left in inboxes goes back to where it came from. The first write is a
-- pop and the rest gives back memory or replaces what was popped, so it works when Redis refuses writes for lack of memory.
if not redis.call('ZSCORE', KEYS[3], ARGV[4]) then
  return redis.error_reply('LEASELOST the consumer is not registered')
end
local known = tonumber(redis.call('HGET', KEYS[4], 'next') or 0)
if known > tonumber(ARGV[5]) then return redis.error_reply('LEASELOST another process has the name of the consumer') end
local want = math.min(tonumber(ARGV[1]), 1000)
local budget = tonumber(ARGV[2])
local longest = tonumber(ARGV[3])
local number = tonumber(ARGV[5])
local lists = tonumber(ARGV[7])
local queues = tonumber(ARGV[8])
local list_at = 8 + 2 * queues
local time = redis.call('TIME')
-- The next whole second, for no entry may look older than it is. A fraction costs Redis more than the rest of the entry: while the
-- set is small it is a list, in which each is read as text.
local score = string.format('%d', time[1] + 1)
local format, byte = string.format, string.byte

local function name_of(queue)
  local name = ARGV[8 + 2 * queue]
  local known, decoded = pcall(cjson.decode, '[' .. name .. ']')
  return known and decoded[1] or name
end

local left, recorded, heads, tails = {}, {}, {}, {}
for queue = 1, queues do
  local argument = ARGV[7 + 2 * queue]
  local kind = string.sub(argument, 1, 1)
  recorded[queue] = kind ~= 'n'
  if kind == 'r' then
    local definition = string.gsub(ARGV[6], 'malformed%.$', 'queue.') .. name_of(queue)
    local born = redis.call('HGET', definition, 'born')
    if born then heads[queue] = '[{"queue_born": "' .. born .. '", ' end
  end
  left[queue] = tonumber(string.sub(argument, 2))
  tails[queue] = ',"",' .. ARGV[8 + 2 * queue] .. ']'
end

local inboxes = {}
for inbox = 5 + lists, #KEYS do
  local list = tonumber(ARGV[list_at + inbox - 4])
  inboxes[#inboxes + 1] = {KEYS[inbox], KEYS[4 + list], list}
end

-- A string costs by its length each time one is made, and `#` of a table by its logarithm: both happen as seldom as can be.
local result, last, taken, aside, bytes = {}, 0, 0, 0, 0
local values, noted = {}, 0
local stem, unit
local digits = {[0] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'}
local failed

local function is_refused(answer)
  return type(answer) == 'table' and answer.err ~= nil
end

local function set_aside(list, queue, text, reason)
  local header = format('{"at": %d.%06d, "reason": "%s"}\n', time[1], time[2], reason)
  local pushed = redis.pcall('RPUSH', ARGV[6] .. name_of(queue), header .. text)
  if is_refused(pushed) then
    failed = failed or pushed
    return false
  end
  result[last + 1] = -list
  result[last + 2] = #text > longest and header or header .. text
  last = last + 2
  aside = aside + 1
  return true
end

-- Only every tenth number is written out.
local function next_field()
  if not stem or unit == 10 then
    unit = number % 10
    stem = ARGV[4] .. ':' .. (number < 10 and '' or format('%d', (number - unit) / 10))
  end
  local field = stem .. digits[unit]
  unit = unit + 1
  number = number + 1
  return field
end

local function take(key, list)
  local queue = tonumber(ARGV[list_at + list])
  local is_recorded, head, tail = recorded[queue], heads[queue], tails[queue]
  while taken < want and left[queue] > 0 and bytes < budget and aside < 100 do
    local texts = redis.pcall('RPOP', key, math.min(want - taken, left[queue], 8))
    if not texts then return end
    if is_refused(texts) then
      failed = failed or texts
      return
    end
    for at = 1, #texts do
      local text = texts[at]
      local length = #text
      local reason
      if length > longest then
        reason = 'larger than max_message_size'
      elseif byte(text) ~= 123 or byte(text, -1) ~= 125 then
        reason = 'not a JSON object'
      end
      if reason then
        if not set_aside(list, queue, text, reason) then
          for back = #texts, at, -1 do redis.call('RPUSH', key, texts[back]) end
          return
        end
      else
        result[last + 1] = list
        result[last + 2] = text
        last = last + 2
        taken = taken + 1
        left[queue] = left[queue] - 1
        bytes = bytes + length
        if is_recorded then
          values[noted + 1] = next_field()
          -- In one piece: what is put together in between is a string, too.
          values[noted + 2] = head and head .. string.sub(text, 2) .. tail or '[' .. text .. tail
          noted = noted + 2
        end
      end
    end
  end
end

local next_inbox = {}
for _, inbox in ipairs(inboxes) do
  next_inbox[inbox[3]] = next_inbox[inbox[3]] or {}
  table.insert(next_inbox[inbox[3]], inbox[1])
end
if want > 0 then
  for list = 1, lists do
    for _, key in ipairs(next_inbox[list] or {}) do take(key, list) end
    take(KEYS[4 + list], list)
  end
end

-- An inbox is filled at its head, so its head is the youngest: the oldest goes back last and is served first.
for _, inbox in ipairs(inboxes) do
  local text = redis.pcall('LPOP', inbox[1])
  while type(text) == 'string' do
    if is_refused(redis.pcall('RPUSH', inbox[2], text)) then
      redis.call('LPUSH', inbox[1], text)
      break
    end
    text = redis.pcall('LPOP', inbox[1])
  end
end

if noted > 0 then
  -- Up to here whoever finds the consumer dead has to look for its messages.
  if known < number then redis.call('HSET', KEYS[4], 'next', string.format('%d', number)) end
  local refused = redis.pcall('HSET', KEYS[1], unpack(values))
  if type(refused) ~= 'table' then
    -- The youngest first: the place of each is then the first that is looked at, also while the set is a list.
    local scores = {}
    for at = 1, noted, 2 do
      scores[at] = score
      scores[at + 1] = values[noted - at]
    end
    refused = redis.pcall('ZADD', KEYS[2], unpack(scores))
    if type(refused) == 'table' then
      for at = 1, noted, 2 do redis.call('HDEL', KEYS[1], values[at]) end
    end
  end
  if type(refused) == 'table' then
    -- Somebody uses the names for something else. Nothing that was popped may be lost.
    for at = last - 1, 1, -2 do
      if result[at] > 0 then redis.call('RPUSH', KEYS[4 + result[at]], result[at + 1]) end
    end
    return refused
  end
end
if failed and last == 0 then return failed end
return result
