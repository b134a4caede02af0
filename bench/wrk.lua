-- One spend a request, each under a key of its own: wrk -s wrk.lua URL -- API-KEY PREFIX ACCOUNTS
local n = 0
local prefix, accounts

function init(args)
  wrk.method = 'POST'
  wrk.body = '{"amount":"0.01","feature":"bench"}'
  wrk.headers['Authorization'] = 'Bearer ' .. args[1]
  wrk.headers['Content-Type'] = 'application/json'
  prefix = args[2]
  accounts = tonumber(args[3])
  math.randomseed(tonumber(prefix:sub(1, 8), 16))
end

function request()
  n = n + 1
  wrk.headers['Idempotency-Key'] = prefix .. '-' .. n
  local account = accounts == 1 and 0 or math.random(0, accounts - 1)
  return wrk.format(nil, string.format('/v1/accounts/acc_%032x/spend', account))
end

function done(summary, latency)
  local e = summary.errors
  print(string.format('{"done":%d,"us":%d,"p50Us":%d,"p99Us":%d,"bad":%d}', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
