-- Changes members of a JSON object in its text.
--
-- Everything else stays byte for byte as it was: decoding and encoding it with cjson would round large integers, turn empty
-- lists into objects and refuse NaN. Texts are jumped over with plain searches, so a large body costs next to nothing.
-- Functions that find places return nil where the text is not JSON.

local byte, find, sub = string.byte, string.find, string.sub

local function skip_space(text, at)
  return find(text, '[^ \n\r\t]', at) or #text + 1
end

-- Returns the place behind the text whose opening quote is at `at`.
local function after_text(text, at)
  local quote = at
  while true do
    quote = find(text, '"', quote + 1, true)
    if not quote then return nil end
    local before = quote - 1
    while byte(text, before) == 92 do before = before - 1 end
    -- An even number of backslashes escape each other.
    if (quote - before) % 2 == 1 then return quote + 1 end
  end
end

-- Returns the place behind the value that begins at `at`.
local function after_value(text, at)
  local first = byte(text, at)
  if first == 34 then return after_text(text, at) end
  if first ~= 123 and first ~= 91 then return find(text, '[,}%] \n\r\t]', at) end
  local depth = 0
  repeat
    at = find(text, '["{}%[%]]', at)
    if not at then return nil end
    local char = byte(text, at)
    if char == 34 then
      at = after_text(text, at)
      if not at then return nil end
    else
      depth = depth + ((char == 123 or char == 91) and 1 or -1)
      at = at + 1
    end
  until depth == 0
  return at
end

local WANTED = {}
for _, name in ipairs({'headers', 'properties', 'delivery_info', 'delivery_tag', 'redelivered', 'x-delivery-count'}) do
  WANTED[name] = name
end

-- Goes through the object at `object`. Returns the places of the values of wanted members by name, as {first, last}, and the
-- place behind the object, or nil. Of members with the same name the last counts. Objects whose names are in `inner` are gone
-- through as well: their places hold what was found in them as `members`. All other members leave a 1, for "not empty".
local function members(text, object, inner)
  local found = {}
  local at = skip_space(text, object + 1)
  if byte(text, at) == 125 then return found, at + 1 end
  while true do
    local _, _, name, value = find(text, '^"([^"\\]*)"[ \n\r\t]*:[ \n\r\t]*()', at)
    if not name then
      local behind = byte(text, at) == 34 and after_text(text, at)
      if not behind then return nil end
      name = sub(text, at + 1, behind - 2)
      _, _, value = find(text, '^[ \n\r\t]*:[ \n\r\t]*()', behind)
      if not value then return nil end
    end
    local inside, behind
    if inner[name] and byte(text, value) == 123 then
      inside, behind = members(text, value, inner[name])
    else
      behind = after_value(text, value)
    end
    if not behind then return nil end
    found[WANTED[name] or 1] = WANTED[name] and {value, behind - 1, members = inside} or true
    local _, _, char, following = find(text, '^[ \n\r\t]*([,}])[ \n\r\t]*()', behind)
    if char == '}' then return found, following end
    if not char then return nil end
    at = following
  end
end

-- Notes in `edits` what sets members of the object at `object` to the values, which are JSON.
local function set(edits, object, found, values)
  local new = {}
  for _, pair in ipairs(values) do
    local place = found[pair[1]]
    if place then
      edits[#edits + 1] = {place[1], place[2], pair[2]}
    else
      new[#new + 1] = '"' .. pair[1] .. '": ' .. pair[2]
    end
  end
  if #new > 0 then
    edits[#edits + 1] = {object + 1, object, table.concat(new, ', ') .. (next(found) and ', ' or '')}
  end
end

local function apply(text, edits)
  table.sort(edits, function(left, right) return left[1] < right[1] end)
  local parts, at = {}, 1
  for _, edit in ipairs(edits) do
    parts[#parts + 1] = sub(text, at, edit[1] - 1)
    parts[#parts + 1] = edit[3]
    at = edit[2] + 1
  end
  parts[#parts + 1] = sub(text, at)
  return table.concat(parts)
end

local NAMES = string.gsub('}~,~"[^"\\]*"~,~"[^"\\]*"~%]~$', '~', '[ \n\r\t]*')

-- Returns where the envelope in a value of `unacked` begins and ends, or nil.
local function place_of_envelope(value)
  local first = skip_space(value, 1)
  if byte(value, first) ~= 91 then return nil end
  first = skip_space(value, first + 1)
  if byte(value, first) ~= 123 then return nil end
  -- Short names without escapes are found from the end, which spares the way through the envelope.
  local last = find(value, NAMES, math.max(first, #value - 150))
  if last then return first, last end
  local behind = after_value(value, first)
  if behind then return first, behind - 1 end
end

-- Returns the envelope in a value of `unacked`, or nil; and, if that was noted, when the queue was born that it was taken of, and its name.
local function envelope_of(value)
  local first, last = place_of_envelope(value)
  if not first then return nil end
  local _, mark, born = find(value, '^{"queue_born": "([^"]*)", ', first)
  if not born then return sub(value, first, last) end
  local known, names = pcall(cjson.decode, '[""' .. sub(value, last + 1))
  return '{' .. sub(value, mark + 1, last), born, known and names[3] or nil
end

-- Says whether a queue is gone that a message was taken of: another of its name is another queue.
local function is_gone(prefix, born, queue)
  return born and queue and redis.call('HGET', prefix .. '_kombu.rs.queue.' .. queue, 'born') ~= born
end

local INNER = {headers = {}, properties = {delivery_info = {}}}

-- Returns the envelope as it is given back: both of Kombu's redelivered flags set and our count one higher (`again`), and
-- with another delivery tag unless `tag` is empty. What Kombu would fail on is left alone.
local function given_back(text, again, tag)
  local envelope = members(text, 1, INNER)
  if not envelope then return nil end
  local edits = {}
  local headers = envelope['headers']
  local properties = envelope['properties']
  if again then
    if headers and headers.members then
      local place = headers.members['x-delivery-count']
      local count = place and tonumber(sub(text, place[1], place[2])) or 0
      count = string.format('%d', math.max(0, math.min(count, 1000000000)) + 1)
      set(edits, headers[1], headers.members, {{'redelivered', 'true'}, {'x-delivery-count', count}})
    elseif not headers or sub(text, headers[1], headers[2]) == 'null' then
      set(edits, 1, envelope, {{'headers', '{"redelivered": true, "x-delivery-count": 1}'}})
    end
  end
  if properties and properties.members then
    local info = properties.members['delivery_info']
    if again and info and info.members then set(edits, info[1], info.members, {{'redelivered', 'true'}}) end
    if tag ~= '' then set(edits, properties[1], properties.members, {{'delivery_tag', '"' .. tag .. '"'}}) end
  end
  return apply(text, edits)
end
