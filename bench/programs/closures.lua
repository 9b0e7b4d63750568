-- What the lua program of bench/run.py interprets: closures, tables that grow, and strings, many of them short-lived.
-- Lua asks realloc for everything, one block an object. Prints a checksum; only the seed below decides it.
local seed = 22
local function draw(bound)
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed // 65536 % bound
end

local kept, sum = {}, 0
for round = 1, 400000 do
  local name = "item " .. draw(5000) .. ":" .. round % 7
  local item = { name = name, parts = {}, add = function(self, part) self.parts[#self.parts + 1] = part end }
  for part = 1, draw(6) do item:add(part * round) end
  if round % 10 == 0 then kept[draw(20000)] = item end
  sum = (sum * 31 + #item.parts + #name) % 1000000007
end
local rows = {}
for _, item in pairs(kept) do rows[#rows + 1] = item.name end
table.sort(rows)
print(sum, #rows, #table.concat(rows, ","))
