-- Write what the ledger says, less what is reserved, for those products whose lease still holds.
-- A lease is gone when a sale began or ended, or the ledger changed, since it was given: what the
-- caller has read is then too old.
--
-- KEYS: the stream of changes; then of each product: its stock, what is held of it, what is
--       claimed of it, its lease.
-- ARGV: the caller's name, how long to remember that the ledger does not know a product (ms); then
--       of each product: its id, the ledger's balance without the claimed reservations ('none' where
--       it does not know it), the life of the key (ms; 0: unlimited).
-- Returns for each product {'lost'}, or {'stored', what was there, what is there now} ('' for none).
local function sum(key)
  local total = 0
  for _, units in ipairs(redis.call('HVALS', key)) do
    total = total + tonumber(units)
  end
  return total
end

local answer, changed = {}, {}
for i = 0, (#KEYS - 1) / 4 - 1 do
  local stock, held, claimed, lease = KEYS[4 * i + 2], KEYS[4 * i + 3], KEYS[4 * i + 4], KEYS[4 * i + 5]
  local id, balance, life = ARGV[3 * i + 3], ARGV[3 * i + 4], tonumber(ARGV[3 * i + 5])
  if redis.call('GET', lease) ~= ARGV[1] then
    answer[#answer + 1] = {'lost'}
  else
    local before, after = redis.call('GET', stock) or '', ''
    if balance == 'none' then
      redis.call('DEL', stock)
      redis.call('SET', lease, 'none', 'PX', ARGV[2])
    else
      after = string.format('%.0f', tonumber(balance) - sum(held) - sum(claimed))
      if life > 0 then
        redis.call('SET', stock, after, 'PX', life)
      else
        redis.call('SET', stock, after)
      end
      redis.call('DEL', lease)
    end
    if before ~= after then
      changed[#changed + 1] = id
    end
    answer[#answer + 1] = {'stored', before, after}
  end
end
if #changed > 0 then
  tell(KEYS[1], table.concat(changed, ','))
end
return answer
