-- $1: a stream. No row: it has no events.
SELECT * FROM describe_stream($1)
