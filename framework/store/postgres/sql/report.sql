-- $1, $2, $3: names, numbers and fences of slots; $4 … $8: for each its state, the error, how many keys are held back, its
-- rate and what woke its process. Writes that down for those whose fence is still that one.
INSERT INTO reports AS r (name, slot, state, error, parked_keys, rate, woken_by, reported_at)
SELECT t.name, t.slot, t.state, t.error, t.parked_keys, t.rate, t.woken_by, clock_timestamp()
  FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::text[], $6::integer[], $7::real[], $8::text[])
       AS t (name, slot, fence, state, error, parked_keys, rate, woken_by)
  JOIN slots AS s USING (name, slot, fence)
    ON CONFLICT ON CONSTRAINT reports_pkey
    DO UPDATE SET state       = excluded.state,
                  error       = excluded.error,
                  parked_keys = excluded.parked_keys,
                  rate        = excluded.rate,
                  woken_by    = excluded.woken_by,
                  reported_at = excluded.reported_at
