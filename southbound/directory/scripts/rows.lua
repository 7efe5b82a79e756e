-- Reads rows. input.items: bucket, field, bucket, field, ...
-- Answers born, map version, topology version, and the rows, '' for an absent one.
local rows = {}
local items = input.items
for i = 1, #items, 2 do
  rows[#rows + 1] = redis.call('HGET', P .. items[i], items[i + 1]) or ''
end
local map = redis.call('HMGET', P .. 'map', 'born', 'version')
return cmsgpack.pack({ map[1] or '', tonumber(map[2] or '0'), topology_version(), rows })
