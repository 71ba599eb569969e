-- Functions that every script may use: they are put in front of each script's source.

-- Return the time in milliseconds: the caller's, or the server's if the caller passes '0'. With the
-- server's clock, all deadlines are compared with one clock.
local function milliseconds(given)
  if given ~= '0' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Tell whether a stock count is a whole number that Redis can add to and Lua, which has doubles
-- only, keeps exactly. Anything else is rebuilt from the ledger.
local function is_count(value)
  return value and #value <= 15 and string.find(value, '^-?%d+$')
    and string.format('%.0f', tonumber(value)) == value
end

-- A reservation is a string: its state, its deadline, its items ("product:units,product:units").
local function parse_reservation(value)
  if not value then
    return nil
  end
  return string.match(value, '^(%a+) (%d+) (.*)$')
end

local function format_reservation(state, deadline, items)
  return string.format('%s %.0f %s', state, deadline, items)
end

-- Add an entry to the stream: the stock counts of these products changed.
local function publish_change(stream, products)
  redis.call('XADD', stream, 'MAXLEN', '~', 10000, '*', 'products', products)
end

-- Return the product ids in a reservation's items, joined by commas.
local function products_of(items)
  return (string.gsub(items, ':%d+', ''))
end
