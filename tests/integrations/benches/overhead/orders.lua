-- Orders all over the table; figures for the bench to read.

local id = 0

function request()
  id = (id + 7919) % 10000
  return wrk.format("GET", "/orders/" .. (id + 1))
end

function done(summary, latency)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  print(string.format("FIGURES %d %d %d", summary.requests, latency:percentile(99), errors))
end
