-- Read values with what is left of their life, all at the same moment.
--
-- KEYS: the keys. Returns for each: its value ('' where it has none), its life (ms; below 0: no end).
local answer = {}
for i, key in ipairs(KEYS) do
  answer[2 * i - 1] = redis.call('GET', key) or ''
  answer[2 * i] = redis.call('PTTL', key)
end
return answer
