-- $1: a channel; $2: the head, as text. A hint to those who wait on other nodes.
SELECT pg_notify($1, $2)
