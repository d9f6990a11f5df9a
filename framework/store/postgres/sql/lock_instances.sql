-- $1: a process; $2: instances, in order. Until the transaction ends, nobody else changes what they have scheduled.
SELECT pg_advisory_xact_lock(hashtextextended(concat_ws('/', current_schema(), $1::text, i.instance), 0))
  FROM unnest($2::text[]) AS i (instance)
