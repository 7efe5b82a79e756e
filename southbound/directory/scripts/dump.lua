-- Reads whole buckets. input.buckets: their names. Answers one flat list: field, row, field, row, ...
local flat = {}
for _, bucket in ipairs(input.buckets) do
  local rows = redis.call('HGETALL', P .. bucket)
  for i = 1, #rows do flat[#flat + 1] = rows[i] end
end
return cmsgpack.pack(flat)
