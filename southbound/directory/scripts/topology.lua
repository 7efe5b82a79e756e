-- Stores the topology's document over the version that the caller compared it with.
-- input: expected, version, document, nonce, changes_max. Answers the version that is there now.
local known = topology_version()
if known ~= input.expected then return known end
redis.call('HSET', P .. 'topology', 'version', input.version, 'document', input.document)
announce(raise(), 't', input.version)
return input.version
