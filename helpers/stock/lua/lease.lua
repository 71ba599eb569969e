-- Give the caller leases to read products in the ledger: one reader for each product at a time.
--
-- KEYS: of each product: its lease, what is claimed of it, its stock.
-- ARGV: the caller's name, how long a lease lasts (ms), for which products: 'missing' (those whose
--       count is not there, as somebody may have stored it a moment ago), 'renew' (whether it is
--       there or not) or 'all' (also those that the ledger was found not to know).
-- Returns for each product: 'busy', 'none' (the ledger does not know it), its count, or a list:
-- 'yours', then the tokens of the reservations claimed but not settled.
local answer = {}
for i = 1, #KEYS, 3 do
  local holder, count = redis.call('GET', KEYS[i]), redis.call('GET', KEYS[i + 2])
  if ARGV[3] == 'missing' and count and string.find(count, '^-?%d+$') then
    answer[#answer + 1] = count
  elseif holder == 'none' and ARGV[3] ~= 'all' then
    answer[#answer + 1] = 'none'
  elseif holder and holder ~= 'none' and holder ~= ARGV[1] then
    answer[#answer + 1] = 'busy'
  else
    redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2])
    local tokens = redis.call('HKEYS', KEYS[i + 1])
    table.insert(tokens, 1, 'yours')
    answer[#answer + 1] = tokens
  end
end
return answer
