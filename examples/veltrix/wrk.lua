-- The same load with wrk, ending red when an alert fired.
--
--   cargo run --release --example veltrix -- --serve --port 8080          # or --fixed
--   wrk -t2 -c400 -d20s -s examples/veltrix/wrk.lua http://127.0.0.1:8080
--
-- What fails the run is the server's own verdict: which of its rules fired since it started.

local user = 0

function request()
  user = user + 1
  local what = user % 5 == 0 and "report" or "order"
  return wrk.format("GET", "/" .. what .. "/" .. user)
end

function done(summary)
  local served = summary.requests - summary.errors.status
  print(string.format("%d served, %d turned away", served, summary.errors.status))
  local url = string.format("%s://%s:%s/verdict", wrk.scheme, wrk.host, wrk.port)
  -- curl's status is that of the verdict; its text is printed either way.
  local red = os.execute("curl --silent --show-error --fail-with-body " .. url)
  print()
  if red ~= 0 and red ~= true then
    os.exit(1)
  end
end
