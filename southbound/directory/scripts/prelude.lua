-- What every script begins with. KEYS[1] is the prefix of all names; ARGV[1] a msgpack map.
-- Lists of items are flat: unpacking a table for each item would cost more than all the rest.
local P = KEYS[1]
local input = cmsgpack.unpack(ARGV[1])
local CHUNK = 500

-- Counts of slots: read once a pool, changed in memory, written back at the end where they differ.
local held, grown = {}, {}

local function counts(pool)
  local found = held[pool]
  if not found then
    found = { text = redis.call('GET', P .. 'occupied:' .. pool) or '', now = {} }
    held[pool] = found
  end
  return found
end

local function stored(text, slot)
  local a, b, c, d = string.byte(text, slot * 4 + 1, slot * 4 + 4)
  if not d then return 0 end
  return ((a * 256 + b) * 256 + c) * 256 + d
end

local function count(pool, slot)
  local known = counts(pool)
  return known.now[slot] or stored(known.text, slot)
end

local function add(pool, slot, by)
  local before = count(pool, slot)
  local now = before + by
  if now < 0 then now = 0 end
  held[pool].now[slot] = now
  grown[pool] = (grown[pool] or 0) + now - before
end

local function write_counts()
  for pool, known in pairs(held) do
    local name, sets, n = P .. 'occupied:' .. pool, {}, 0
    for slot, now in pairs(known.now) do
      if now ~= stored(known.text, slot) then
        sets[n + 1], sets[n + 2], sets[n + 3], sets[n + 4] = 'SET', 'u32', '#' .. slot, now
        n = n + 4
        if n >= 4 * CHUNK then
          redis.call('BITFIELD', name, unpack(sets, 1, n))
          n = 0
        end
      end
    end
    if n > 0 then redis.call('BITFIELD', name, unpack(sets, 1, n)) end
  end
  for pool, by in pairs(grown) do
    if by ~= 0 then redis.call('HINCRBY', P .. 'totals', pool, by) end
  end
end

-- The map: `born` tells one memory from another, `version` rises with every change.
local function raise()
  redis.call('HSETNX', P .. 'map', 'born', input.nonce)
  return redis.call('HINCRBY', P .. 'map', 'version', 1)
end

local function announce(version, ...)
  redis.call('XADD', P .. 'changes', 'MAXLEN', '~', input.changes_max, '*', 'v', version, ...)
end

local function topology_version()
  return tonumber(redis.call('HGET', P .. 'topology', 'version') or '0')
end

-- How far a journal is known here: its Kafka cluster, the next offset, `whole` once its end was seen.
local function position(az)
  local text = redis.call('HGET', P .. 'journal', az)
  if not text then return nil end
  local kafka, offset, state = string.match(text, '^(%S+) (%d+) (%a+)$')
  return { kafka = kafka, offset = tonumber(offset), state = state }
end

-- Why nothing may be reserved now, packed, or nil: another topology, another Kafka cluster, or a
-- journal that this Redis does not know to its end.
local function refusal()
  local known = topology_version()
  if known ~= input.topology then return cmsgpack.pack({ 'topology', tostring(known) }) end
  local at = position(input.az)
  if at and at.kafka ~= input.kafka then return cmsgpack.pack({ 'kafka', at.kafka }) end
  if not at or at.offset < input.offset then return cmsgpack.pack({ 'behind', input.az }) end
  for _, az in ipairs(input.azs) do
    local other = position(az)
    if not other or other.state ~= 'whole' then return cmsgpack.pack({ 'behind', az }) end
  end
  return nil
end

-- Reservations of one key: `epoch:pool:probe:slot:seconds`, several joined by `|`.
local function reservations(text)
  local found = {}
  if not text then return found end
  for epoch, pool, probe, slot, at in
    string.gmatch(text, '(%d+):([^:|]+):(%d+):(%d+):(%d+)') do
    found[#found + 1] = {
      epoch = tonumber(epoch), pool = pool, probe = tonumber(probe), slot = tonumber(slot),
      at = tonumber(at),
    }
  end
  return found
end

local function reservations_text(list)
  local parts = {}
  for i, r in ipairs(list) do
    parts[i] = r.epoch .. ':' .. r.pool .. ':' .. r.probe .. ':' .. r.slot .. ':' .. r.at
  end
  return table.concat(parts, '|')
end

-- Notes what is left of a key's reservations: in `kept`, as key and value, or in `freed` when nothing is.
local function leave_reservations(text, rest, freed, kept)
  if #rest == 0 then
    freed[#freed + 1] = text
  else
    kept[#kept + 1] = text
    kept[#kept + 1] = reservations_text(rest)
  end
end

-- The name of a row within its class, which is its key text without the letter before it.
local function field_of(text) return string.sub(text, 3) end

-- HMGET and HSET of many fields, in pieces that fit Lua's stack.
local function get_many(key, fields)
  local values = {}
  for first = 1, #fields, CHUNK do
    local last = math.min(first + CHUNK - 1, #fields)
    local answer = redis.call('HMGET', key, unpack(fields, first, last))
    for i = 1, last - first + 1 do values[first + i - 1] = answer[i] end
  end
  return values
end

local function set_many(key, pairs_flat)
  for first = 1, #pairs_flat, 2 * CHUNK do
    local last = math.min(first + 2 * CHUNK - 1, #pairs_flat)
    redis.call('HSET', key, unpack(pairs_flat, first, last))
  end
end

local function delete_many(key, fields)
  for first = 1, #fields, CHUNK do
    redis.call('HDEL', key, unpack(fields, first, math.min(first + CHUNK - 1, #fields)))
  end
end
