-- Gives up reservations that nobody carries on. What was found again or given up meanwhile stays as it
-- is: a reservation is named by all that it says.
--
-- input: items: key text, epoch, pool, slot, at (seconds), .... Answers how many were given up.
local items = input.items
local texts, dead = {}, {}
for i = 1, #items, 5 do
  local text = items[i]
  if not dead[text] then
    dead[text] = {}
    texts[#texts + 1] = text
  end
  dead[text][items[i + 1] .. ':' .. items[i + 2] .. ':' .. items[i + 3] .. ':' .. items[i + 4]] = true
end

local waiting = get_many(P .. 'reserved', texts)
local freed, kept, given_up = {}, {}, 0
for i, text in ipairs(texts) do
  local rest, before = {}, given_up
  for _, r in ipairs(reservations(waiting[i])) do
    if dead[text][r.epoch .. ':' .. r.pool .. ':' .. r.slot .. ':' .. r.at] then
      add(r.pool, r.slot, -1)
      given_up = given_up + 1
    else
      rest[#rest + 1] = r
    end
  end
  if given_up > before then leave_reservations(text, rest, freed, kept) end
end
write_counts()
delete_many(P .. 'reserved', freed)
set_many(P .. 'reserved', kept)
return given_up
