-- Return the units of a reservation to the stock counts: because its holder releases it, its
-- deadline has passed, or the ledger has rejected its sale.
--
-- KEYS: the reservation, the deadlines, the confirmations, the stream of changes; then for each
--       product: its stock count, its reserved units, its units being confirmed, its lease.
-- ARGV: token, time (ms; 0: the server's), the state it must be in, its new state, how long to keep
--       the reservation (ms).
-- Returns the reservation's state now, or 'unknown' if there is no such reservation.
local state, deadline, items = parse_reservation(redis.call('GET', KEYS[1]))
if state ~= ARGV[3] then
  return state or 'unknown'
end
if ARGV[4] == 'expired' and milliseconds(ARGV[2]) < tonumber(deadline) then
  return state
end

for i = 5, #KEYS, 4 do
  local units = redis.call('HGET', KEYS[i + 1], ARGV[1]) or redis.call('HGET', KEYS[i + 2], ARGV[1])
  redis.call('HDEL', KEYS[i + 1], ARGV[1])
  redis.call('HDEL', KEYS[i + 2], ARGV[1])
  if state == 'confirming' then
    redis.call('DEL', KEYS[i + 3]) -- a client that is reading the ledger must read it again
  end
  -- A missing stock count is read from the ledger later, which includes these units.
  if units and redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('INCRBY', KEYS[i], units)
  end
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('SET', KEYS[1], format_reservation(ARGV[4], deadline, items), 'PX', ARGV[5])
publish_change(KEYS[4], products_of(items))
return ARGV[4]
