-- Make every entry about a reservation match the reservation itself.
--
-- KEYS: the reservation, the deadlines, the confirmations;
--       then for each product: its reserved units, its units being confirmed.
-- ARGV: token, time (ms; 0: the server's); then the units of each product.
-- Returns how many entries were wrong.
local state, deadline = parse_reservation(redis.call('GET', KEYS[1]))
local is_reserved, is_confirming = state == 'reserved', state == 'confirming'
local wrong = 0

-- Add the token to a sorted set with this score, or remove it if `score` is false.
local function repair_sorted_set(key, score)
  local found = redis.call('ZSCORE', key, ARGV[1])
  if score and not found then
    wrong = wrong + redis.call('ZADD', key, score, ARGV[1])
  elseif found and not score then
    wrong = wrong + redis.call('ZREM', key, ARGV[1])
  end
end

-- Set the token's field of a hash to these units, or delete it if `units` is false.
local function repair_hash(key, units)
  if redis.call('HGET', key, ARGV[1]) == units then
    return
  end
  wrong = wrong + 1
  if units then
    redis.call('HSET', key, ARGV[1], units)
  else
    redis.call('HDEL', key, ARGV[1])
  end
end

repair_sorted_set(KEYS[2], is_reserved and deadline)
repair_sorted_set(KEYS[3], is_confirming and milliseconds(ARGV[2]))
for i = 1, #ARGV - 2 do
  repair_hash(KEYS[2 + 2 * i], is_reserved and ARGV[2 + i])
  repair_hash(KEYS[3 + 2 * i], is_confirming and ARGV[2 + i])
end
return wrong
