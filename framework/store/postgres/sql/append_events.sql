-- Appends a batch of units, each all or nothing, in one transaction; the heart of the store.
--
-- A unit is one caller's append: writes to some streams, and receipts. The head row is locked first, so that every later
-- statement sees every commit before it (each statement of a volatile function takes its own snapshot) and nobody else
-- appends until the end: positions are gapless, and in the order of commits.
--
-- First everything is inserted as if nothing conflicted. If something does, all of it is undone and the units are looked
-- at: those in whose way nothing stands go in together, the others are judged one by one, in order.
--
-- A batch whose connection was lost may still wait in a backend nobody listens to. Sent again, as the next attempt at the
-- same batch, it fences that one off: what was told to be refused must not be recorded later, when it would fit.
--
-- The batch and the attempt at it (1, 2, …), and how long to wait for a lock. For each write: its unit (1, 2, …), its
-- stream, what is expected of it, how many events it has. For each event, in the order of the writes: its write (1, 2, …),
-- its place in it (1, 2, …), and its columns. For each receipt: its unit, and its columns.
--
-- Returns the position before the first event, the last one of the log, and the time. If everything was recorded side by side, *outcomes* is NULL,
-- and *starts* has the version before each write, or is NULL where that is what they all expected. Else *outcomes* is an
-- array with an outcome for each unit: its number, what became of it, and what the caller must know.
CREATE OR REPLACE FUNCTION append_events(
    batch           uuid,
    attempt         integer,
    patience_ms     integer,
    write_unit      integer[],
    write_stream    text[],
    write_expected  bigint[],
    write_count     integer[],
    event_write     integer[],
    event_place     integer[],
    event_ids       uuid[],
    event_types     text[],
    type_versions   integer[],
    datas           jsonb[],
    metadatas       jsonb[],
    correlation_ids uuid[],
    causation_ids   uuid[],
    receipt_unit    integer[],
    command_ids     uuid[],
    digests         bytea[],
    receipt_stream  text[],
    first_versions  bigint[],
    event_counts    integer[],
    refusals        jsonb[],
    OUT base        bigint,
    OUT reached     bigint,
    OUT recorded    timestamptz,
    OUT starts      bigint[],
    OUT outcomes    jsonb
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    total    CONSTANT bigint := cardinality(event_ids);
    fits     boolean;      -- nothing speaks against inserting it all
    dirty    integer[];    -- units in whose way something stands, or that only a look in their turn can judge
    chosen   integer[];    -- the units to record now
    wanted   integer;      -- what the judged unit brings: events and receipts
    taken    integer;      -- how many of them are recorded already
    alike    integer;      -- how many of those with the same content
    runs     integer;      -- in how many pieces its events lie in the log
    receipts_taken jsonb;
    events_taken   jsonb;
    outcome  jsonb;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'an append needs READ COMMITTED, not %', upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'active_sql_transaction';
    END IF;
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    PERFORM set_config('lock_timeout', patience_ms::text, true);
    UPDATE head AS h
       SET position    = h.position + total,
           recorded_at = greatest(h.recorded_at, clock_timestamp())
    RETURNING h.position - total, h.position, h.recorded_at INTO base, reached, recorded;

    IF attempt > 1 THEN
        INSERT INTO fences AS f VALUES (append_events.batch, append_events.attempt, recorded)
        ON CONFLICT ON CONSTRAINT fences_pkey DO UPDATE SET attempt = greatest(f.attempt, excluded.attempt);
    END IF;

    fits := 0 <> ALL (write_count);  -- only events can collide
    IF 0 > ANY (write_expected) THEN
        -- A writer that leaves the version open follows what is there, and what this batch adds before.
        SELECT array_agg(CASE WHEN w.expected < 0 THEN w.version + w.ahead ELSE w.expected END ORDER BY w.n),
               fits AND bool_and(w.expected <> -2 OR w.version + w.ahead > 0)
          INTO starts, fits
          FROM (
              SELECT u.n, u.expected,
                     sum(u.events) OVER (PARTITION BY u.stream ORDER BY u.n) - u.events AS ahead,
                     CASE WHEN u.expected < 0 THEN coalesce((
                         SELECT e.version FROM events AS e WHERE e.stream = u.stream ORDER BY e.version DESC LIMIT 1
                     ), 0) END AS version
                FROM unnest(write_stream, write_expected, write_count) WITH ORDINALITY AS u (stream, expected, events, n)
          ) AS w;
    END IF;
    IF fits THEN
        BEGIN
            INSERT INTO events
            SELECT base + e.number, write_stream[e.write],
                   CASE WHEN starts IS NULL THEN write_expected[e.write] ELSE starts[e.write] END + e.place,
                   e.event_id, e.event_type, e.type_version, e.data, e.metadata, e.correlation_id, e.causation_id,
                   recorded
              FROM unnest(event_write, event_place, event_ids, event_types, type_versions, datas, metadatas,
                          correlation_ids, causation_ids)
                   WITH ORDINALITY
                   AS e (write, place, event_id, event_type, type_version, data, metadata, correlation_id, causation_id,
                         number);
            IF cardinality(command_ids) > 0 THEN
                INSERT INTO receipts
                SELECT r.command_id, r.digest, r.stream, r.first_version, r.event_count, r.refusal, recorded
                  FROM unnest(command_ids, digests, receipt_stream, first_versions, event_counts, refusals)
                       AS r (command_id, digest, stream, first_version, event_count, refusal);
            END IF;
            -- A version too far ahead meets no unique index: the one before it must be there.
            IF NOT EXISTS (
                SELECT
                  FROM unnest(write_stream, write_expected) AS w (stream, expected)
                 WHERE w.expected > 0
                   AND NOT EXISTS (
                       SELECT FROM events AS e WHERE e.stream = w.stream AND e.version = w.expected
                   )
            ) AND NOT EXISTS (
                SELECT FROM streams AS s WHERE s.stream = ANY (write_stream)
            ) AND NOT EXISTS (
                SELECT FROM fences AS f WHERE f.batch = append_events.batch AND f.attempt > append_events.attempt
            ) THEN
                RETURN;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'unique_violation';
        EXCEPTION WHEN unique_violation THEN
            NULL;  -- all of the block is undone; the head row is still ours
        END;
    END IF;

    IF EXISTS (SELECT FROM fences AS f WHERE f.batch = append_events.batch AND f.attempt > append_events.attempt) THEN
        RAISE EXCEPTION 'batch % was sent again: attempt % comes too late', batch, attempt
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;

    SELECT coalesce(array_agg(DISTINCT d.unit ORDER BY d.unit), '{}') INTO dirty
      FROM (
          SELECT w.unit
            FROM (
                SELECT write_unit[n] AS unit, write_stream[n] AS stream, write_expected[n] AS expected,
                       row_number() OVER (PARTITION BY write_stream[n] ORDER BY n) AS turn
                  FROM generate_subscripts(write_stream, 1) AS n
            ) AS w
           WHERE w.turn > 1
              OR EXISTS (SELECT FROM streams AS s WHERE s.stream = w.stream)
              OR NOT meets_expectation(w.expected, current_version(w.stream))
          UNION ALL
          SELECT write_unit[e.write]
            FROM (
                SELECT i.write, i.event_id, row_number() OVER (PARTITION BY i.event_id ORDER BY i.write) AS turn
                  FROM unnest(event_write, event_ids) AS i (write, event_id)
            ) AS e
           WHERE e.turn > 1 OR EXISTS (SELECT FROM events AS k WHERE k.event_id = e.event_id)
          UNION ALL
          SELECT r.unit
            FROM (
                SELECT i.unit, i.command_id, row_number() OVER (PARTITION BY i.command_id ORDER BY i.unit) AS turn
                  FROM unnest(receipt_unit, command_ids) AS i (unit, command_id)
            ) AS r
           WHERE r.turn > 1 OR EXISTS (SELECT FROM receipts AS k WHERE k.command_id = r.command_id)
      ) AS d;

    reached := base;
    outcomes := '[]';
    FOR turn IN 0 .. cardinality(dirty) LOOP
        IF turn = 0 THEN
            SELECT coalesce(array_agg(DISTINCT u.unit), '{}') INTO chosen
              FROM unnest(write_unit || receipt_unit) AS u (unit)
             WHERE u.unit <> ALL (dirty);
        ELSE
            chosen := dirty[turn:turn];

            SELECT count(*), count(k.position),
                   count(*) FILTER (
                       WHERE k.stream = write_stream[e.write]
                         AND (k.event_type, k.type_version, k.data, k.metadata, k.correlation_id, k.causation_id)
                             = (e.event_type, e.type_version, e.data, e.metadata, e.correlation_id, e.causation_id)
                   ),
                   count(DISTINCT k.position - e.number),
                   jsonb_agg(k.event_id) FILTER (WHERE k.position IS NOT NULL)
              INTO wanted, taken, alike, runs, events_taken
              FROM unnest(event_write, event_ids, event_types, type_versions, datas, metadatas, correlation_ids,
                          causation_ids)
                   WITH ORDINALITY
                   AS e (write, event_id, event_type, type_version, data, metadata, correlation_id, causation_id, number)
              LEFT JOIN events AS k USING (event_id)
             WHERE write_unit[e.write] = chosen[1];

            SELECT wanted + count(*), taken + count(k.command_id),
                   alike + count(*) FILTER (
                       WHERE (k.digest, k.stream, k.first_version, k.event_count)
                             = (r.digest, r.stream, r.first_version, r.event_count)
                         AND k.refusal IS NOT DISTINCT FROM r.refusal
                   ),
                   jsonb_agg(k.command_id) FILTER (WHERE k.command_id IS NOT NULL)
              INTO wanted, taken, alike, receipts_taken
              FROM unnest(receipt_unit, command_ids, digests, receipt_stream, first_versions, event_counts, refusals)
                   AS r (unit, command_id, digest, stream, first_version, event_count, refusal)
              LEFT JOIN receipts AS k USING (command_id)
             WHERE r.unit = chosen[1];

            outcome := NULL;
            IF taken > 0 AND taken = wanted AND alike = wanted AND runs <= 1 THEN
                SELECT jsonb_build_object('unit', chosen[1], 'became', 'recorded', 'writes', jsonb_agg(w.place ORDER BY w.n))
                  INTO outcome
                  FROM (
                      SELECT n, CASE WHEN l.position IS NULL
                                     THEN jsonb_build_array(current_version(write_stream[n]), NULL, NULL)
                                     ELSE jsonb_build_array(l.version, l.position, l.recorded_at) END AS place
                        FROM generate_subscripts(write_stream, 1) AS n
                        LEFT JOIN LATERAL (
                            SELECT k.version, k.position, k.recorded_at
                              FROM unnest(event_write, event_place, event_ids) AS e (write, place, event_id)
                              JOIN events AS k USING (event_id)
                             WHERE e.write = n AND e.place = write_count[n]
                        ) AS l ON true
                       WHERE write_unit[n] = chosen[1]
                  ) AS w;
            ELSIF receipts_taken IS NOT NULL THEN
                outcome := jsonb_build_object('unit', chosen[1], 'became', 'answered', 'ids', receipts_taken);
            ELSIF events_taken IS NOT NULL THEN
                SELECT jsonb_build_object('unit', chosen[1], 'became', 'duplicate', 'ids', events_taken,
                                          'stream', write_stream[min(n)])
                  INTO outcome
                  FROM generate_subscripts(write_unit, 1) AS n
                 WHERE write_unit[n] = chosen[1];
            ELSE
                SELECT jsonb_build_object('unit', chosen[1], 'stream', w.stream, 'expected', w.expected,
                                          'actual', w.version, 'became', CASE WHEN w.gone THEN 'deleted' ELSE 'refused' END)
                  INTO outcome
                  FROM (
                      SELECT n, write_stream[n] AS stream, write_expected[n] AS expected,
                             current_version(write_stream[n]) AS version,
                             EXISTS (SELECT FROM streams AS s WHERE s.stream = write_stream[n]) AS gone
                        FROM generate_subscripts(write_stream, 1) AS n
                       WHERE write_unit[n] = chosen[1]
                  ) AS w
                 WHERE w.gone OR NOT meets_expectation(w.expected, w.version)
                 ORDER BY w.n
                 LIMIT 1;
            END IF;
            IF outcome IS NOT NULL THEN
                outcomes := outcomes || outcome;
                CONTINUE;
            END IF;
        END IF;

        INSERT INTO receipts
        SELECT r.command_id, r.digest, r.stream, r.first_version, r.event_count, r.refusal, recorded
          FROM unnest(receipt_unit, command_ids, digests, receipt_stream, first_versions, event_counts, refusals)
               AS r (unit, command_id, digest, stream, first_version, event_count, refusal)
         WHERE r.unit = ANY (chosen);

        WITH writes AS MATERIALIZED (
            SELECT n AS write, write_unit[n] AS unit, write_stream[n] AS stream, write_count[n] AS events,
                   current_version(write_stream[n]) AS version,
                   reached + sum(write_count[n]) OVER (ORDER BY n) AS last_position
              FROM generate_subscripts(write_stream, 1) AS n
             WHERE write_unit[n] = ANY (chosen)
        ), inserted AS (
            INSERT INTO events
            SELECT w.last_position - w.events + e.place, w.stream, w.version + e.place, e.event_id, e.event_type,
                   e.type_version, e.data, e.metadata, e.correlation_id, e.causation_id, recorded
              FROM unnest(event_write, event_place, event_ids, event_types, type_versions, datas, metadatas,
                          correlation_ids, causation_ids)
                   AS e (write, place, event_id, event_type, type_version, data, metadata, correlation_id, causation_id)
              JOIN writes AS w USING (write)
        )
        SELECT outcomes || coalesce(jsonb_agg(u.outcome), '[]'), coalesce(max(u.last_position), reached)
          INTO outcomes, reached
          FROM (
              SELECT jsonb_build_object(
                         'unit', c.unit, 'became', 'recorded',
                         'writes', jsonb_agg(
                             CASE WHEN w.events = 0 THEN jsonb_build_array(w.version, NULL, NULL)
                                  ELSE jsonb_build_array(w.version + w.events, w.last_position, recorded) END
                             ORDER BY w.write
                         ) FILTER (WHERE w.write IS NOT NULL)
                     ) AS outcome,
                     max(w.last_position) AS last_position
                FROM unnest(chosen) AS c (unit)
                LEFT JOIN writes AS w USING (unit)
               GROUP BY c.unit
          ) AS u;
    END LOOP;

    UPDATE head SET position = reached WHERE position <> reached;
END
$$;
