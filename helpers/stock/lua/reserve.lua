-- Reserve units of several products until a deadline: all of them or none.
--
-- KEYS: the deadlines, the stream of changes, the reservation; then for each product: its stock
--       count; then for each product: its reserved units.
-- ARGV: token, time (ms; 0: the server's), how long to hold (ms), items; then each product's units.
-- Returns the reservation (a string): the new one, or the existing one with this token. Otherwise
-- returns {'missing', positions of products without a stock count}, or {'short', how many
-- reservations are past their deadline, position of a product, its units available, …}.
local products = #ARGV - 4
local values = redis.call('MGET', unpack(KEYS, 3, 3 + products))
if values[1] then
  return values[1]
end

local missing, short = nil, nil
for i = 1, products do
  local units = values[1 + i]
  if not is_count(units) then
    missing = missing or {'missing'}
    missing[#missing + 1] = i
  elseif tonumber(units) < tonumber(ARGV[4 + i]) then
    short = short or {}
    short[#short + 1] = i
    short[#short + 1] = tonumber(units)
  end
end
if missing then
  return missing
end
local now = milliseconds(ARGV[2])
if short then
  return {'short', redis.call('ZCOUNT', KEYS[1], '-inf', now), unpack(short)}
end

local sold_out = false
for i = 1, products do
  local left = redis.call('DECRBY', KEYS[3 + i], ARGV[4 + i])
  redis.call('HSET', KEYS[3 + products + i], ARGV[1], ARGV[4 + i])
  sold_out = sold_out or left == 0
end
local deadline = now + ARGV[3]
local reservation = format_reservation('reserved', deadline, ARGV[4])
redis.call('SET', KEYS[3], reservation)
redis.call('ZADD', KEYS[1], deadline, ARGV[1])
if sold_out then
  publish_change(KEYS[2], products_of(ARGV[4]))
end
return reservation
