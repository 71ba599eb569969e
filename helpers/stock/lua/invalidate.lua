-- Delete stock counts because the ledger has changed, and the leases of clients that are reading it.
--
-- KEYS: the stream of changes; then for each product: its stock count, its lease.
-- ARGV: the product ids, joined by commas.
for i = 2, #KEYS do
  redis.call('DEL', KEYS[i])
end
publish_change(KEYS[1], ARGV[1])
return #KEYS
