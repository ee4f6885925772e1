-- What wrk sends: signed webhooks, plain events, or events for Prefect. Arguments: MODE FOLDER [KEY].
-- FOLDER holds bodies.txt (one request body a line) and signatures.txt (one a line, for webhooks); the ids
-- of what was acknowledged are written to FOLDER/acknowledged-<thread>.txt.

local threads = {}

function setup(thread)
  thread:set("number", #threads + 1)
  table.insert(threads, thread)
end

local function lines(path)
  local found = {}
  local file = io.open(path)
  if file then
    for line in file:lines() do
      found[#found + 1] = line
    end
    file:close()
  end
  return found
end

local function post(path, headers, body)
  return table.concat({
    "POST ", path, " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n",
    "Content-Type: application/json\r\n", headers, "Content-Length: ", #body, "\r\n\r\n", body,
  })
end

function init(args)
  mode, folder = args[1], args[2]
  bodies = lines(folder .. "/bodies.txt")
  signatures = lines(folder .. "/signatures.txt")
  key = args[3] and ("Authorization: Bearer " .. args[3] .. "\r\n") or ""
  acknowledged = io.open(folder .. "/acknowledged-" .. number .. ".txt", "a")
  statuses = ""
  counts = {}
  sent = 0
  -- Ids are random, as those of providers are: each new one touches another page of the index.
  math.randomseed(os.time() * 1000 + number * 17 + tonumber(args[4] or 0))
end

local function uuid()
  local random = math.random
  return string.format("%04x%04x-%04x-4%03x-8%03x-%04x%08x", random(0, 65535), random(0, 65535),
    random(0, 65535), random(0, 4095), random(0, 4095), random(0, 65535), random(0, 4294967295))
end

function request()
  sent = sent + 1
  local turn = sent % #bodies + 1
  local body = bodies[turn]
  if mode == "webhooks" then
    -- The first body of each hundred is the one that a trigger wants.
    local event = (turn - 1) % 100 == 0 and "push" or "check_run"
    local headers = "X-GitHub-Event: " .. event .. "\r\nX-GitHub-Delivery: " .. uuid()
      .. "\r\nX-Hub-Signature-256: sha256=" .. signatures[turn] .. "\r\n"
    return post("/webhooks/github", headers, body)
  elseif mode == "events" then
    return post("/events", key, '{"id":"' .. uuid() .. '",' .. body)
  end
  return post("/api/events", "", '[{"id":"' .. uuid() .. '",' .. body .. "]")
end

function response(status, headers, body)
  counts[status] = (counts[status] or 0) + 1
  if status == 202 then
    acknowledged:write(body:match('"id":"([^"]+)"'), "\n")
  end
  if (status == 429 or status == 503) and not (headers["Retry-After"] or headers["retry-after"]) then
    counts["no retry-after"] = (counts["no retry-after"] or 0) + 1
  end
  local parts = {}
  -- Strings are what another Lua state can read of this one.
  if counts[status] == 1 or counts[status] % 256 == 0 then
    for name, count in pairs(counts) do
      parts[#parts + 1] = '"' .. name .. '": ' .. count
    end
    statuses = table.concat(parts, ", ")
  end
end

function done(summary, latency, requests)
  local statuses = {}
  for _, thread in ipairs(threads) do
    statuses[#statuses + 1] = "{" .. thread:get("statuses") .. "}"
  end
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, '
      .. '"not_2xx": %d, "socket_errors": %d, "statuses": [%s]}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    table.concat(statuses, ", ")
  ))
end
