-- End a reservation whose sale is in the ledger. The stock was lessened when it was made.
--
-- KEYS: the reservation, the times of what is claimed, the stream of changes;
--       then of each product: its stock, what is claimed of it, its lease.
-- ARGV: token, items, how long to remember the outcome (ms).
-- Returns 'confirmed', or another state that it is in, or 'unknown' where this server has lost the
-- reservation: then it may have lost the count as well, and forgets it.
local state, deadline, items = parsed(redis.call('GET', KEYS[1]))
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
tell(KEYS[3], products_of(ARGV[2]))
if not state then
  return 'unknown'
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SET', KEYS[1], written('confirmed', deadline, items), 'PX', ARGV[3])
return 'confirmed'
