-- Reserves the slots that a plan names, for keys that have a row. What it refuses is as in
-- reserve.lua; nothing that a reader of rows sees changes.
--
-- input: az, kafka, offset, azs, topology, nonce, at (seconds), stale (seconds), items: bucket, key
-- text, epoch, pool, probe, slot, max, .... A reservation of the same slot for the same epoch is
-- found again; one of another slot stands in the way until it is stale, and is then given up.
-- Answers {'ok', answers}: `=row` of a key that has reached the epoch, `+` once reserved, `!` where
-- the slot is full, `~pool:probe` where another move has a slot.
local refused = refusal()
if refused then return refused end

local items = input.items
local texts = {}
for i = 2, #items, 7 do texts[#texts + 1] = items[i] end
local waiting = get_many(P .. 'reserved', texts)
local answers, fresh = {}, {}

local function epoch_of(row)
  return tonumber(string.match(row, '^(%d+)|') or string.match(row, '^[^:]+:%d+:(%d+):'))
end

local function reserve(text, list, epoch, pool, probe, slot, max)
  local rest, stale = {}, {}
  for _, r in ipairs(list) do
    if r.epoch ~= epoch then
      rest[#rest + 1] = r
    elseif r.pool == pool and r.slot == slot then
      return '+'
    elseif input.at - r.at < input.stale then
      return '~' .. r.pool .. ':' .. r.probe
    else
      stale[#stale + 1] = r
    end
  end
  if count(pool, slot) >= max then return '!' end
  for _, r in ipairs(stale) do add(r.pool, r.slot, -1) end
  add(pool, slot, 1)
  rest[#rest + 1] = { epoch = epoch, pool = pool, probe = probe, slot = slot, at = input.at }
  fresh[#fresh + 1] = text
  fresh[#fresh + 1] = reservations_text(rest)
  return '+'
end

for i, text in ipairs(texts) do
  local at = 7 * (i - 1) + 1
  local epoch = items[at + 2]
  local row = redis.call('HGET', P .. items[at], field_of(text))
  if row and epoch_of(row) >= epoch then
    answers[i] = '=' .. row
  else
    answers[i] = reserve(text, reservations(waiting[i]), epoch, items[at + 3], items[at + 4],
      items[at + 5], items[at + 6])
  end
end
if #fresh > 0 then
  set_many(P .. 'reserved', fresh)
  write_counts()
end
return cmsgpack.pack({ 'ok', answers })
