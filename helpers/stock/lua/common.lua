-- Stands before every script.

-- The time in milliseconds: the caller's where it gives one, or else the server's, so that all
-- deadlines are read off one clock.
local function milliseconds(given)
  if given ~= '0' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A reservation is a text: its state, its deadline, its items ("product:units,product:units").
local function parsed(text)
  if not text then
    return nil
  end
  return string.match(text, '^(%a+) (%d+) (.*)$')
end

local function written(state, deadline, items)
  return string.format('%s %.0f %s', state, deadline, items)
end

-- Tell the stream's readers which products' counts changed.
local function tell(stream, products)
  redis.call('XADD', stream, 'MAXLEN', '~', 10000, '*', 'products', products)
end

local function products_of(items)
  return (string.gsub(items, ':%d+', ''))
end
