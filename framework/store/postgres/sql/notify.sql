-- $1: channels; $2: for each of them its news, as text. Hints to those who wait on other nodes.
SELECT pg_notify(channel, news) FROM unnest($1::text[], $2::text[]) AS told (channel, news)
