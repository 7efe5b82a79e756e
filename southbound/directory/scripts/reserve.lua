-- Reserves slots for newcomers; nothing that a reader of rows sees changes.
--
-- It refuses unless this Redis knows the AZ's journal to its end as the caller saw it, and has once
-- known every other AZ's: only then is an absent row truly absent.
--
-- input: az, kafka, offset, azs, topology, nonce, at (seconds), items. An item is bucket, field,
-- key text, epoch, candidates; candidates are {pool, max, slot of probe 0, slot of probe 1, ...},
-- tried in turn. A row that has reached that epoch is the answer; so is a reservation for that epoch,
-- which must be of a candidate's pool unless the epoch is 1.
--
-- Answers {'ok', answers}: `=row`, `+pool:probe`, or `!` when no candidate has room; or {what
-- refuses it, its value}.
local refused = refusal()
if refused then return refused end

-- The emptier of the first two, the first of equals; then the others in turn.
local function choose(candidate)
  local pool, max = candidate[1], candidate[2]
  local best, least = 3, count(pool, candidate[3])
  if candidate[4] then
    local second = count(pool, candidate[4])
    if second < least then best, least = 4, second end
  end
  if least < max then return best end
  for i = 5, #candidate do
    if count(pool, candidate[i]) < max then return i end
  end
  return nil
end

local function usable(list, epoch, candidates)
  for _, r in ipairs(list) do
    if r.epoch == epoch then
      if epoch == 1 then return r end
      for _, candidate in ipairs(candidates) do
        if candidate[1] == r.pool then return r end
      end
    end
  end
  return nil
end

-- A VPC's row begins with its epoch; in a host's row it is the third part.
local function epoch_of(row)
  return tonumber(string.match(row, '^(%d+)|') or string.match(row, '^[^:]+:%d+:(%d+):'))
end

local texts = {}
for i, item in ipairs(input.items) do texts[i] = item[3] end
local waiting = get_many(P .. 'reserved', texts)
local answers, fresh = {}, {}

local function reserve(item, list)
  local epoch, candidates = item[4], item[5]
  local old = usable(list, epoch, candidates)
  if old then return '+' .. old.pool .. ':' .. old.probe end
  for _, candidate in ipairs(candidates) do
    local chosen = choose(candidate)
    if chosen then
      local slot = candidate[chosen]
      add(candidate[1], slot, 1)
      list[#list + 1] = {
        epoch = epoch, pool = candidate[1], probe = chosen - 3, slot = slot, at = input.at,
      }
      fresh[#fresh + 1] = item[3]
      fresh[#fresh + 1] = reservations_text(list)
      return '+' .. candidate[1] .. ':' .. (chosen - 3)
    end
  end
  return '!'
end

for i, item in ipairs(input.items) do
  local row = redis.call('HGET', P .. item[1], item[2])
  if row and epoch_of(row) >= item[4] then
    answers[i] = '=' .. row
  else
    answers[i] = reserve(item, reservations(waiting[i]))
  end
end
if #fresh > 0 then
  set_many(P .. 'reserved', fresh)
  write_counts()
end
return cmsgpack.pack({ 'ok', answers })
