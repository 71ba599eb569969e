-- Read values together with their remaining time to live, all at the same moment.
--
-- KEYS: the keys to read.
-- Returns for each key: its value ('' if it does not exist or is not a string), its time to live
-- (ms; negative: it does not expire).
local result = {}
for i, key in ipairs(KEYS) do
  result[2 * i - 1] = redis.call('MGET', key)[1] or ''
  result[2 * i] = redis.call('PTTL', key)
end
return result
