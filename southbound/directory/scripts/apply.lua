-- Takes over what the journal decided, and how far it was read.
--
-- It refuses when it has not the entries before `start` (this Redis forgot them, or never had them)
-- and when the journal is another cluster's. A row is only written over what the caller compared
-- the entry with; what differs is named, nothing is lost, and the position stays until all match.
--
-- input: az, kafka, start, end, whole, topology, nonce, changes_max, items. An item is bucket,
-- key text, expected row ('' for none), new row, epoch, number of counts, and for each of these
-- pool, slot, by.
-- Answers {'ok', numbers of items to compare again}, or {what refuses it, its value}.
local known = topology_version()
if known ~= input.topology then return cmsgpack.pack({ 'topology', tostring(known) }) end
local at = position(input.az)
if at and at.kafka ~= input.kafka then return cmsgpack.pack({ 'kafka', at.kafka }) end
local reached = at and at.offset or 0
if reached < input.start then return cmsgpack.pack({ 'behind', input.az }) end

local items = input.items
local starts, texts, from = {}, {}, 1
while from <= #items do
  starts[#starts + 1] = from
  texts[#texts + 1] = items[from + 1]
  from = from + 6 + 3 * items[from + 5]
end
local waiting = get_many(P .. 'reserved', texts)
local again, changed, freed, kept, created, writes = {}, {}, {}, {}, 0, 0

-- A reservation counted its slot until the row could: it ends with the epoch that it was for.
local function release(text, waiting_text, epoch)
  local rest = {}
  for _, r in ipairs(reservations(waiting_text)) do
    if r.epoch <= epoch then add(r.pool, r.slot, -1) else rest[#rest + 1] = r end
  end
  leave_reservations(text, rest, freed, kept)
end

for i, start in ipairs(starts) do
  local name, text = P .. items[start], texts[i]
  local expected, new = items[start + 2], items[start + 3]
  local current = redis.call('HGET', name, field_of(text)) or ''
  if current ~= new and current ~= expected then
    again[#again + 1] = i
  else
    if waiting[i] then release(text, waiting[i], items[start + 4]) end
    if current ~= new then
      redis.call('HSET', name, field_of(text), new)
      writes = writes + 1
      for d = start + 6, start + 3 + 3 * items[start + 5], 3 do
        add(items[d], items[d + 1], items[d + 2])
      end
      if current == '' then created = created + 1 else changed[#changed + 1] = { text, new } end
    end
  end
end

write_counts()
delete_many(P .. 'reserved', freed)
set_many(P .. 'reserved', kept)
if writes > 0 then
  local version = raise()
  for _, change in ipairs(changed) do announce(version, 'k', change[1], 'r', change[2]) end
  if created > 0 then announce(version, 'n', created) end
end
if #again == 0 then
  -- A memory that knows a journal has a beginning, even when it holds no row: one that has lost
  -- everything must not look like it.
  redis.call('HSETNX', P .. 'map', 'born', input.nonce)
  local whole = input.whole or (at and at.state == 'whole')
  local offset = string.format('%.0f', math.max(reached, input['end']))
  redis.call('HSET', P .. 'journal', input.az,
    input.kafka .. ' ' .. offset .. ' ' .. (whole and 'whole' or 'part'))
end
return cmsgpack.pack({ 'ok', again })
