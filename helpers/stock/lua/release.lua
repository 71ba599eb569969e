-- Give the units of a reservation back: because its holder wants to, because its deadline has
-- passed, or because the ledger has refused its sale.
--
-- KEYS: the reservation, the deadlines of what is held, the times of what is claimed, the stream of
--       changes; then of each product: its stock, what is held of it, what is claimed, its lease.
-- ARGV: token, time (0: now), state it must be in, state it comes to, how long to remember the
--       outcome (ms).
-- Returns the state that the reservation is in now, or 'unknown' where there is none.
local state, deadline, items = parsed(redis.call('GET', KEYS[1]))
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
    redis.call('DEL', KEYS[i + 3]) -- whoever is reading the ledger now must read it again
  end
  -- A count that is not there will be read from the ledger, which knows of these units.
  if units and redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('INCRBY', KEYS[i], units)
  end
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('SET', KEYS[1], written(ARGV[4], deadline, items), 'PX', ARGV[5])
tell(KEYS[4], products_of(items))
return ARGV[4]
