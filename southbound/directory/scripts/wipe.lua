-- Forgets every row, count, reservation and position in one step, so that no reader of the journal
-- can have written something in between that then goes; caches are told to forget too.
-- input: letters, buckets, pools, nonce, changes_max.
for _, letter in ipairs(input.letters) do
  for bucket = 0, input.buckets - 1 do redis.call('UNLINK', P .. letter .. ':' .. bucket) end
end
for _, pools in ipairs({ input.pools, redis.call('HKEYS', P .. 'totals') }) do
  for _, pool in ipairs(pools) do redis.call('UNLINK', P .. 'occupied:' .. pool) end
end
redis.call('UNLINK', P .. 'totals', P .. 'reserved', P .. 'journal')
redis.call('HSET', P .. 'map', 'born', input.nonce)
local version = raise()
announce(version, 'f', 1)
return version
