-- Changes members of a JSON object in its text.
--
-- Everything else stays byte for byte as it was: decoding and encoding it with cjson would round large integers, turn empty
-- lists into objects and refuse NaN. Texts are jumped over with plain searches, so a large body costs next to nothing.
-- Each function that finds a place returns nil where the text is not JSON.

local function skip_space(text, at)
  return string.find(text, '[^ \n\r\t]', at) or #text + 1
end

-- Returns the place behind the text whose opening quote is at `at`.
local function after_text(text, at)
  local quote = at
  while true do
    quote = string.find(text, '"', quote + 1, true)
    if not quote then return nil end
    local before = quote - 1
    while string.byte(text, before) == 92 do before = before - 1 end
    -- An even number of backslashes escape each other.
    if (quote - before) % 2 == 1 then return quote + 1 end
  end
end

-- Returns the place behind the value that begins at `at`.
local function after_value(text, at)
  local first = string.byte(text, at)
  if first == 34 then return after_text(text, at) end
  if first ~= 123 and first ~= 91 then return string.find(text, '[,}%] \n\r\t]', at) end
  local depth = 0
  repeat
    at = string.find(text, '["{}%[%]]', at)
    if not at then return nil end
    local char = string.byte(text, at)
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

-- Returns the places of the values of an object's members by name, each as {first, last}, or nil. Of members with the same
-- name the last counts.
local function members(text, object)
  if string.byte(text, object) ~= 123 then return nil end
  local found = {}
  local at = skip_space(text, object + 1)
  if string.byte(text, at) == 125 then return found end
  while true do
    if string.byte(text, at) ~= 34 then return nil end
    local behind = after_text(text, at)
    if not behind then return nil end
    local name = string.sub(text, at + 1, behind - 2)
    at = skip_space(text, behind)
    if string.byte(text, at) ~= 58 then return nil end
    at = skip_space(text, at + 1)
    behind = after_value(text, at)
    if not behind then return nil end
    found[name] = {at, behind - 1}
    at = skip_space(text, behind)
    local char = string.byte(text, at)
    if char == 125 then return found end
    if char ~= 44 then return nil end
    at = skip_space(text, at + 1)
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
    parts[#parts + 1] = string.sub(text, at, edit[1] - 1)
    parts[#parts + 1] = edit[3]
    at = edit[2] + 1
  end
  parts[#parts + 1] = string.sub(text, at)
  return table.concat(parts)
end

-- Returns the envelope in a value of `unacked`, or nil.
local function envelope_of(value)
  local at = skip_space(value, 1)
  if string.byte(value, at) ~= 91 then return nil end
  at = skip_space(value, at + 1)
  if string.byte(value, at) ~= 123 then return nil end
  local behind = after_value(value, at)
  return behind and string.sub(value, at, behind - 1)
end

-- Returns the envelope as it is given back: both of Kombu's redelivered flags set and our count one higher (`again`), and
-- with another delivery tag unless `tag` is empty. What Kombu would fail on is left alone.
local function given_back(text, again, tag)
  local envelope = members(text, 1)
  if not envelope then return nil end
  local edits = {}
  local headers = envelope['headers']
  local properties = envelope['properties']
  if again then
    if headers and string.byte(text, headers[1]) == 123 then
      local found = members(text, headers[1])
      if not found then return nil end
      local place = found['x-delivery-count']
      local count = place and tonumber(string.sub(text, place[1], place[2])) or 0
      count = string.format('%d', math.max(0, math.min(count, 1000000000)) + 1)
      set(edits, headers[1], found, {{'redelivered', 'true'}, {'x-delivery-count', count}})
    elseif not headers or string.sub(text, headers[1], headers[2]) == 'null' then
      set(edits, 1, envelope, {{'headers', '{"redelivered": true, "x-delivery-count": 1}'}})
    end
  end
  if properties and string.byte(text, properties[1]) == 123 then
    local found = members(text, properties[1])
    if not found then return nil end
    local info = found['delivery_info']
    if again and info and string.byte(text, info[1]) == 123 then
      local inside = members(text, info[1])
      if not inside then return nil end
      set(edits, info[1], inside, {{'redelivered', 'true'}})
    end
    if tag ~= '' then set(edits, properties[1], found, {{'delivery_tag', '"' .. tag .. '"'}}) end
  end
  return apply(text, edits)
end
