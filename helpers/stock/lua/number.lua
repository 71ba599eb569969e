-- Agree on the number of an order that several callers may be placing under one key.
--
-- KEYS: where the number is kept.
-- ARGV: the caller's proposal, the number that he found given up ('0': none), how long to
--       remember it (ms).
-- Returns the number that is kept now: one that is there and not given up stays.
local there = redis.call('GET', KEYS[1])
if there and there ~= ARGV[2] then
  return there
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return ARGV[1]
