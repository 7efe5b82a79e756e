-- Reserves slots for newcomers; nothing that a reader of rows sees changes.
--
-- It refuses unless this Redis knows the AZ's journal to its end as the caller saw it, and has once
-- known every other AZ's: only then is an absent row truly absent.
--
-- input: az, kafka, offset, azs, topology, nonce, at (seconds), items. An item is bucket, key text,
-- epoch, number of candidates, and for each of these pool, max, number of slots, slot of probe 0,
-- slot of probe 1, ...; candidates are tried in turn. A row that has reached that epoch is the
-- answer; so is a reservation for that epoch, which must be of a candidate's pool unless the epoch
-- is 1.
--
-- Answers {'ok', answers}: `=row`, `+pool:probe`, or `!` when no candidate has room; or {what
-- refuses it, its value}.
local refused = refusal()
if refused then return refused end

local items = input.items

-- A VPC's row begins with its epoch; in a host's row it is the third part.
local function epoch_of(row)
  return tonumber(string.match(row, '^(%d+)|') or string.match(row, '^[^:]+:%d+:(%d+):'))
end

-- Of the slots that stand at `first` and after: the emptier of the first two, the first of equals;
-- then the others in turn. Returns the probe.
local function choose(pool, max, first, slots)
  local best, least = 0, count(pool, items[first])
  if slots > 1 then
    local second = count(pool, items[first + 1])
    if second < least then best, least = 1, second end
  end
  if least < max then return best end
  for probe = 2, slots - 1 do
    if count(pool, items[first + probe]) < max then return probe end
  end
  return nil
end

local function usable(list, epoch, first, candidates)
  for _, r in ipairs(list) do
    if r.epoch == epoch then
      if epoch == 1 then return r end
      local at = first
      for _ = 1, candidates do
        if items[at] == r.pool then return r end
        at = at + 3 + items[at + 2]
      end
    end
  end
  return nil
end

local starts, texts, at = {}, {}, 1
while at <= #items do
  starts[#starts + 1] = at
  texts[#texts + 1] = items[at + 1]
  local candidates = items[at + 3]
  at = at + 4
  for _ = 1, candidates do at = at + 3 + items[at + 2] end
end

local waiting = get_many(P .. 'reserved', texts)
local answers, fresh = {}, {}

local function reserve(text, epoch, first, candidates, waiting_text)
  local list = reservations(waiting_text)
  local old = usable(list, epoch, first, candidates)
  if old then return '+' .. old.pool .. ':' .. old.probe end
  for _ = 1, candidates do
    local pool, slots = items[first], items[first + 2]
    local probe = choose(pool, items[first + 1], first + 3, slots)
    if probe then
      local slot = items[first + 3 + probe]
      add(pool, slot, 1)
      list[#list + 1] = { epoch = epoch, pool = pool, probe = probe, slot = slot, at = input.at }
      fresh[#fresh + 1] = text
      fresh[#fresh + 1] = reservations_text(list)
      return '+' .. pool .. ':' .. probe
    end
    first = first + 3 + slots
  end
  return '!'
end

for i, start in ipairs(starts) do
  local text, epoch = texts[i], items[start + 2]
  local row = redis.call('HGET', P .. items[start], field_of(text))
  if row and epoch_of(row) >= epoch then
    answers[i] = '=' .. row
  else
    answers[i] = reserve(text, epoch, start + 4, items[start + 3], waiting[i])
  end
end
if #fresh > 0 then
  set_many(P .. 'reserved', fresh)
  write_counts()
end
return cmsgpack.pack({ 'ok', answers })
