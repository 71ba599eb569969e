-- Start to confirm a reservation: from now on its deadline no longer applies; the ledger decides.
--
-- KEYS: the reservation, the deadlines, the confirmations;
--       then for each product: its reserved units, its units being confirmed, its lease.
-- ARGV: token, time (ms; 0: the server's).
-- Returns the reservation's state now, 'overdue' if its deadline has passed, or 'unknown' if there
-- is no such reservation.
local state, deadline, items = parse_reservation(redis.call('GET', KEYS[1]))
if state ~= 'reserved' then
  return state or 'unknown'
end
local now = milliseconds(ARGV[2])
if now >= tonumber(deadline) then
  return 'overdue'
end

for i = 4, #KEYS, 3 do
  local units = redis.call('HGET', KEYS[i], ARGV[1])
  if units then
    redis.call('HDEL', KEYS[i], ARGV[1])
    redis.call('HSET', KEYS[i + 1], ARGV[1], units)
  end
  redis.call('DEL', KEYS[i + 2]) -- a client that is reading the ledger must read it again
end
redis.call('SET', KEYS[1], format_reservation('confirming', deadline, items))
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], now, ARGV[1])
return 'confirming'
