-- Read values with what is left of their life, all at the same moment.
--
-- KEYS: the keys. Returns for each: its value ('' where it has none, or is no text), its life (ms;
--       below 0: no end).
local answer = {}
for i, key in ipairs(KEYS) do
  answer[2 * i - 1] = redis.call('MGET', key)[1] or ''
  answer[2 * i] = redis.call('PTTL', key)
end
return answer
