-- Give the caller leases to read products in the ledger: at most one holder for each product.
--
-- KEYS: for each product: its lease, its units being confirmed, its stock count.
-- ARGV: the caller's name, the lifetime of a lease (ms), and which products to lease:
--       'missing' (only if there is no stock count: another client may just have stored it),
--       'renew' (even if there is one), or 'all' (even if the ledger does not know the product).
-- Returns for each product: 'busy' (another client has the lease), 'none' (the ledger does not know
-- the product), its stock count, or a list: 'yours', then the tokens of confirming reservations.
local result = {}
for i = 1, #KEYS, 3 do
  local holder, count = redis.call('GET', KEYS[i]), redis.call('GET', KEYS[i + 2])
  if ARGV[3] == 'missing' and is_count(count) then
    result[#result + 1] = count
  elseif holder == 'none' and ARGV[3] ~= 'all' then
    result[#result + 1] = 'none'
  elseif holder and holder ~= 'none' and holder ~= ARGV[1] then
    result[#result + 1] = 'busy'
  else
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
    local tokens = redis.call('HKEYS', KEYS[i + 1])
    table.insert(tokens, 1, 'yours')
    result[#result + 1] = tokens
  end
end
return result
