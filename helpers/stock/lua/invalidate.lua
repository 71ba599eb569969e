-- Forget counts that the ledger no longer bears out, and the leases of those who are reading it.
--
-- KEYS: the stream of changes; then of each product: its stock, its lease.
-- ARGV: product ids, joined by commas.
for i = 2, #KEYS do
  redis.call('DEL', KEYS[i])
end
tell(KEYS[1], ARGV[1])
return #KEYS
