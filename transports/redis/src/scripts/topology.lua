-- What leads where. The scripts that begin with this have in common:
--
-- ARGV  1 what every key begins with
--
-- A queue or exchange notes what leads to it: `["<exchange>", "<field or member>"]`. A field, with a blank behind its first word, is kept
-- in the hash of the exchange, a member in Kombu's sets. `["<exchange>", "", "<member>"]` is a member of those stored for the exchange.
local prefix = ARGV[1]

local function record_of(exchange) return prefix .. '_kombu.rs.exchange.' .. exchange end
local function table_of(exchange) return prefix .. '_kombu.binding.' .. exchange end
local function permanent_of(exchange) return prefix .. '_kombu.binding_permanent.' .. exchange end

local function is_field(text)
  return string.find(text, '^queue %[') or string.find(text, '^exchange %[')
end

local function has_bindings(exchange)
  if redis.call('SCARD', table_of(exchange)) > 0 then return true end
  for _, field in ipairs(redis.call('HKEYS', record_of(exchange))) do
    if is_field(field) then return true end
  end
  return false
end

-- Ends everything that leads to what has this list of it.
local end_bindings

local function remove_exchange(exchange)
  local led = prefix .. '_kombu.rs.bound.exchange.' .. exchange
  redis.call('DEL', table_of(exchange), permanent_of(exchange), record_of(exchange),
    prefix .. '_kombu.rs.stored.' .. exchange)
  redis.call('ZREM', prefix .. '_kombu.binding_deadlines', exchange)
  end_bindings(led)
end

local function end_binding(exchange, text)
  if is_field(text) then
    redis.call('HDEL', record_of(exchange), text)
  else
    redis.call('SREM', table_of(exchange), text)
    redis.call('SREM', permanent_of(exchange), text)
  end
  -- An auto-delete exchange goes with its last binding.
  if redis.call('HGET', record_of(exchange), 'auto_delete') == '1' and not has_bindings(exchange) then
    remove_exchange(exchange)
  end
end

end_bindings = function(list)
  local entries = redis.call('SMEMBERS', list)
  redis.call('DEL', list)
  for _, entry in ipairs(entries) do
    local known, binding = pcall(cjson.decode, entry)
    if known and type(binding) == 'table' and binding[3] then
      redis.call('SREM', prefix .. '_kombu.rs.stored.' .. binding[1], binding[3])
    elseif known and type(binding) == 'table' and binding[1] and binding[2] then
      end_binding(binding[1], binding[2])
    end
  end
end
