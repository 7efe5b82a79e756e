-- Answers born, map version, topology version, the journals' positions (flat) and the pools' totals.
local map = redis.call('HMGET', P .. 'map', 'born', 'version')
return cmsgpack.pack({
  map[1] or '', tonumber(map[2] or '0'), topology_version(),
  redis.call('HGETALL', P .. 'journal'), redis.call('HGETALL', P .. 'totals'),
})
