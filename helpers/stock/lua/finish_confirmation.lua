-- Mark a reservation as confirmed after its sale was written to the ledger. The stock count needs
-- no change: it was decremented when the units were reserved.
--
-- KEYS: the reservation, the confirmations, the stream of changes;
--       then for each product: its stock count, its units being confirmed, its lease.
-- ARGV: token, items, how long to keep the reservation (ms).
-- Returns 'confirmed', or the state if it is another one. Returns 'unknown' if this server has lost
-- the reservation: it may have lost the stock counts too, so they are deleted.
local state, deadline, items = parse_reservation(redis.call('GET', KEYS[1]))
if state and state ~= 'confirming' then
  return state
end
for i = 4, #KEYS, 3 do
  redis.call('HDEL', KEYS[i + 1], ARGV[1])
  redis.call('DEL', KEYS[i + 2])
  if not state then
    redis.call('DEL', KEYS[i])
  end
end
publish_change(KEYS[3], products_of(ARGV[2]))
if not state then
  return 'unknown'
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], format_reservation('confirmed', deadline, items), 'PX', ARGV[3])
return 'confirmed'
