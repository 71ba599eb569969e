-- Store stock counts (the ledger's balance minus what is reserved) of the products whose lease the
-- caller still holds. A lease is deleted when a sale starts or ends, or when the ledger changes:
-- then the balance that the caller has read is out of date.
--
-- KEYS: the stream of changes; then for each product: its stock count, its reserved units, its
--       units being confirmed, its lease.
-- ARGV: the caller's name, how long to remember that the ledger does not know a product (ms); then
--       for each product: its id, its balance without confirming reservations ('none' if the ledger
--       does not know it), the time to live of its stock count (ms; 0: it does not expire).
-- Returns for each product {'lost'}, or {'stored', the old count, the new count} ('' for none).
local function sum(key)
  local total = 0
  for _, units in ipairs(redis.call('HVALS', key)) do
    total = total + tonumber(units)
  end
  return total
end

local result, changed = {}, {}
for i = 0, (#KEYS - 1) / 4 - 1 do
  local stock, reserved = KEYS[4 * i + 2], KEYS[4 * i + 3]
  local confirming, lease = KEYS[4 * i + 4], KEYS[4 * i + 5]
  local id, balance, ttl = ARGV[3 * i + 3], ARGV[3 * i + 4], tonumber(ARGV[3 * i + 5])
  if redis.call('GET', lease) ~= ARGV[1] then
    result[#result + 1] = {'lost'}
  else
    local before, after = redis.call('GET', stock) or '', ''
    if balance == 'none' then
      redis.call('DEL', stock)
      redis.call('SET', lease, 'none', 'PX', ARGV[2])
    else
      after = string.format('%.0f', tonumber(balance) - sum(reserved) - sum(confirming))
      if ttl > 0 then
        redis.call('SET', stock, after, 'PX', ttl)
      else
        redis.call('SET', stock, after)
      end
      redis.call('DEL', lease)
    end
    if before ~= after then
      changed[#changed + 1] = id
    end
    result[#result + 1] = {'stored', before, after}
  end
end
if #changed > 0 then
  publish_change(KEYS[1], table.concat(changed, ','))
end
return result
