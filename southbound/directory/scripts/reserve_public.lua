-- Reserves partitions for public resources of one kind: each gets the partition that holds the
-- fewest by then, the lowest number among equals. What it refuses is as in reserve.lua.
--
-- input: az, kafka, offset, azs, topology, nonce, at, pool, partitions, items: bucket, key text, ....
-- Answers {'ok', answers}: `=partition` of an existing row or `+partition` of a reservation.
local refused = refusal()
if refused then return refused end

-- Partitions by rising count: those of one level in order of number, then the next level.
local level, queue = nil, {}
local function fewest()
  if #queue == 0 then
    for partition = 0, input.partitions - 1 do
      local held_there = count(input.pool, partition)
      if not level or held_there < level then level = held_there end
    end
    for partition = input.partitions - 1, 0, -1 do
      if count(input.pool, partition) == level then queue[#queue + 1] = partition end
    end
    level = nil
  end
  return table.remove(queue)
end

local texts = {}
for i = 2, #input.items, 2 do texts[#texts + 1] = input.items[i] end
local waiting = get_many(P .. 'reserved', texts)
local answers, fresh = {}, {}
for i, text in ipairs(texts) do
  local row = redis.call('HGET', P .. input.items[2 * i - 1], field_of(text))
  local old = reservations(waiting[i])[1]
  if row then
    answers[i] = '=' .. row
  elseif old then
    answers[i] = '+' .. old.slot
  else
    local partition = fewest()
    add(input.pool, partition, 1)
    fresh[#fresh + 1] = text
    fresh[#fresh + 1] = reservations_text({
      { epoch = 1, pool = input.pool, probe = 0, slot = partition, at = input.at },
    })
    answers[i] = '+' .. partition
  end
end
if #fresh > 0 then
  set_many(P .. 'reserved', fresh)
  write_counts()
end
return cmsgpack.pack({ 'ok', answers })
