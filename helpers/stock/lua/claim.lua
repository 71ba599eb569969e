-- Begin to confirm: from here on, no deadline takes the units away; only the ledger decides.
--
-- KEYS: the reservation, the deadlines of what is held, the times of what is claimed;
--       then of each product: what is held of it, what is claimed of it, its lease.
-- ARGV: token, time (0: now).
-- Returns the state that the reservation is in now; 'due' where its deadline has passed;
-- 'unknown' where there is none.
local state, deadline, items = parsed(redis.call('GET', KEYS[1]))
if state ~= 'held' then
  return state or 'unknown'
end
local now = milliseconds(ARGV[2])
if now >= tonumber(deadline) then
  return 'due'
end

for i = 4, #KEYS, 3 do
  local units = redis.call('HGET', KEYS[i], ARGV[1])
  if units then
    redis.call('HDEL', KEYS[i], ARGV[1])
    redis.call('HSET', KEYS[i + 1], ARGV[1], units)
  end
  redis.call('DEL', KEYS[i + 2]) -- whoever is reading the ledger now must read it again
end
redis.call('SET', KEYS[1], written('confirming', deadline, items))
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], now, ARGV[1])
return 'confirming'
