-- Make what is written elsewhere of a reservation follow from the reservation itself.
--
-- KEYS: the reservation, the deadlines of what is held, the times of what is claimed;
--       then of each product: what is held of it, what is claimed of it.
-- ARGV: token, time (0: now); then the units of each product.
-- Returns how many entries were wrong.
local state, deadline = parsed(redis.call('GET', KEYS[1]))
local held, claimed = state == 'held', state == 'confirming'
local wrong = 0

local function listed(key, wanted)
  local there = redis.call('ZSCORE', key, ARGV[1])
  if wanted and not there then
    wrong = wrong + redis.call('ZADD', key, wanted, ARGV[1])
  elseif there and not wanted then
    wrong = wrong + redis.call('ZREM', key, ARGV[1])
  end
end

local function entered(key, wanted)
  if redis.call('HGET', key, ARGV[1]) == wanted then
    return
  end
  wrong = wrong + 1
  if wanted then
    redis.call('HSET', key, ARGV[1], wanted)
  else
    redis.call('HDEL', key, ARGV[1])
  end
end

listed(KEYS[2], held and deadline)
listed(KEYS[3], claimed and milliseconds(ARGV[2]))
for i = 1, #ARGV - 2 do
  entered(KEYS[2 + 2 * i], held and ARGV[2 + i])
  entered(KEYS[3 + 2 * i], claimed and ARGV[2 + i])
end
return wrong
