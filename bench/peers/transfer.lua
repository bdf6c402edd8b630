-- A transfer by an idempotency key: key's two halves, payer, payee, amount − 1, as numbers; then how many accounts there are,
-- how many of a hundred transfers pay the merchant, who is the last account, and a name of the run's own for its keys: two
-- runs of redis-benchmark may draw the same numbers, since it begins from the time and its process id.
-- redis-benchmark draws each number from one and the same range, so each is brought into its own here.
local accounts = tonumber(ARGV[6])
local payer = ARGV[3] % (accounts - 1)
local payee = ARGV[4] % (accounts - 1)
if ARGV[5] % 100 < tonumber(ARGV[7]) then
    payee = accounts - 1
elseif payee == payer then
    payee = (payee + 1) % (accounts - 1)
end
local amount = ARGV[5] % 1000 + 1
local key = 't:' .. ARGV[8] .. ':' .. ARGV[1] .. ARGV[2]
local record = payer .. ':' .. payee .. ':' .. amount
if not redis.call('SET', key, record, 'NX') then
    return redis.call('GET', key) == record and 1 or redis.error_reply('KEY_REUSED')
end
local from = 'a:' .. payer
if tonumber(redis.call('GET', from)) < amount then
    redis.call('SET', key, 'INSUFFICIENT')
    return 0
end
redis.call('DECRBY', from, amount)
redis.call('INCRBY', 'a:' .. payee, amount)
return 1
