-- $1: a moment. Forgets the batches that were sent again before it, and more than a day ago: what was lost of one waits for
-- the head for seconds, and may be stopped for longer.
DELETE FROM fences WHERE recorded_at < least($1, clock_timestamp() - interval '1 day')
