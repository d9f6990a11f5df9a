-- $1: a process; $2, $3, $4: instances, their versions and their states, NULL for one that is finished, and so is not asked
-- to stop any more.
INSERT INTO process_instances AS p (process, instance, version, state)
SELECT $1, i.instance, i.version, i.state
  FROM unnest($2::text[], $3::bigint[], $4::jsonb[]) AS i (instance, version, state)
    ON CONFLICT ON CONSTRAINT process_instances_pkey
    DO UPDATE SET version = excluded.version, state = excluded.state,
                  asked_to_stop = p.asked_to_stop AND excluded.state IS NOT NULL
