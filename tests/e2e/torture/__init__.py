"""The whole shop, killed piece by piece while 32 buyers order: afterwards all stores agree."""
