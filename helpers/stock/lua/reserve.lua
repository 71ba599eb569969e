-- Take units of several products out of their stock until a deadline: all of them or none.
--
-- KEYS: the deadlines of what is held, the stream of changes, the reservation;
--       then of each product: its stock; then of each product: what is held of it.
-- ARGV: token, time (0: now), hold (ms), items; then the units of each product.
-- Returns the reservation as it is written now, or, of an earlier call with this token, as it was;
-- or {'missing', positions}; or {'short', how many are past their deadline, position, units, …}.
local products = #ARGV - 4
local values = redis.call('MGET', unpack(KEYS, 3, 3 + products))
if values[1] then
  return values[1]
end

local missing, short = nil, nil
for i = 1, products do
  local units = values[1 + i]
  if not units or not string.find(units, '^-?%d+$') then
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
local reservation = written('held', deadline, ARGV[4])
redis.call('SET', KEYS[3], reservation)
redis.call('ZADD', KEYS[1], deadline, ARGV[1])
if sold_out then
  tell(KEYS[2], products_of(ARGV[4]))
end
return reservation
