-- Make all clients that send the same request agree on the number of its order.
--
-- KEYS: the key that holds the number.
-- ARGV: the number that the caller proposes, a number that was given up ('0': none), how long to
--       keep the number (ms).
-- Returns the number that is stored now. A stored number is replaced only if it was given up.
local stored = redis.call('GET', KEYS[1])
if stored and stored ~= ARGV[2] then
  return stored
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return ARGV[1]
