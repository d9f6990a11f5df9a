-- $1: channels; $2: for each of them its news, as text. Hints to those who wait on other nodes. To notify is to commit: it
-- would wait for the disk, and for the standby, and keep all who notify anybody waiting meanwhile, for what no crash can cost.
SELECT set_config('synchronous_commit', 'off', true), pg_notify(channel, news)
  FROM unnest($1::text[], $2::text[]) AS told (channel, news)
