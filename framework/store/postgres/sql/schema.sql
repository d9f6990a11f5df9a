-- The whole schema as it is now, to be read in one place: what the migrations and the functions come to.
-- Written by `make schema`, which asks pg_dump; a test compares it with their sum.

CREATE FUNCTION append_events(batch uuid, attempt integer, patience_ms integer, write_unit integer[], write_stream text[], write_expected bigint[], write_count integer[], event_write integer[], event_place integer[], event_ids uuid[], event_types text[], type_versions integer[], datas jsonb[], metadatas jsonb[], correlation_ids uuid[], causation_ids uuid[], receipt_unit integer[], command_ids uuid[], digests bytea[], receipt_stream text[], first_versions bigint[], event_counts integer[], refusals jsonb[], OUT base bigint, OUT reached bigint, OUT recorded timestamp with time zone, OUT starts bigint[], OUT outcomes jsonb) RETURNS record
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION append_events_elsewhere(batch uuid, attempt integer, patience_ms integer, write_unit integer[], write_stream text[], write_expected bigint[], write_count integer[], event_write integer[], event_place integer[], event_ids uuid[], event_types text[], type_versions integer[], datas jsonb[], metadatas jsonb[], correlation_ids uuid[], causation_ids uuid[], receipt_unit integer[], command_ids uuid[], digests bytea[], receipt_stream text[], first_versions bigint[], event_counts integer[], refusals jsonb[], OUT base bigint, OUT reached bigint, OUT recorded timestamp with time zone, OUT starts bigint[], OUT outcomes jsonb) RETURNS record
    LANGUAGE sql
    SET search_path FROM CURRENT
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    SET lock_timeout TO '0'
    AS $$
    SELECT append_events.*
      FROM append_events(
               batch, attempt, patience_ms, write_unit, write_stream, write_expected, write_count, event_write,
               event_place, event_ids, event_types, type_versions, datas, metadatas, correlation_ids, causation_ids,
               receipt_unit, command_ids, digests, receipt_stream, first_versions, event_counts, refusals
           )
$$;

CREATE FUNCTION current_version(stream_name text) RETURNS bigint
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN coalesce((SELECT e.version FROM events AS e WHERE e.stream = stream_name ORDER BY e.version DESC LIMIT 1), 0);
END
$$;

CREATE FUNCTION delete_stream(stream_name text, expected bigint, OUT version bigint, OUT is_met boolean) RETURNS record
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    PERFORM FROM head FOR UPDATE;
    version := current_version(stream_name);
    is_met := version > 0 AND meets_expectation(expected, version);
    IF is_met THEN
        INSERT INTO streams (stream, deleted_at)
        SELECT stream_name, greatest(h.recorded_at, clock_timestamp())
          FROM head AS h
            ON CONFLICT ON CONSTRAINT streams_pkey DO NOTHING;
        DELETE FROM snapshots AS s WHERE s.stream = stream_name;
    END IF;
END
$$;

CREATE FUNCTION describe_stream(stream_name text) RETURNS TABLE(stream text, version bigint, first_position bigint, last_position bigint, created_at timestamp with time zone, changed_at timestamp with time zone, deleted_at timestamp with time zone)
    LANGUAGE sql STABLE
    AS $$
    SELECT l.stream, l.version, f.position, l.position, f.recorded_at, l.recorded_at, d.deleted_at
      FROM (SELECT e.* FROM events AS e WHERE e.stream = stream_name ORDER BY e.version DESC LIMIT 1) AS l
      JOIN events AS f ON f.stream = l.stream AND f.version = 1
      LEFT JOIN streams AS d ON d.stream = l.stream
$$;

CREATE FUNCTION meets_expectation(expected bigint, version bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE expected WHEN -1 THEN true WHEN -2 THEN version > 0 ELSE version = expected END
$$;

CREATE FUNCTION refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: what is recorded stays recorded', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TABLE command_audit (
    number bigint NOT NULL,
    asked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    command_id uuid NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id uuid,
    command_type text NOT NULL,
    data jsonb NOT NULL,
    metadata jsonb NOT NULL,
    answered_at timestamp with time zone,
    outcome text,
    stream text COLLATE pg_catalog."C",
    version bigint,
    error text,
    reason text
);

ALTER TABLE command_audit ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME command_audit_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE events (
    "position" bigint NOT NULL,
    stream text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    type_version integer NOT NULL,
    data jsonb NOT NULL,
    metadata jsonb NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id uuid NOT NULL,
    recorded_at timestamp with time zone NOT NULL
);

CREATE TABLE fences (
    batch uuid NOT NULL,
    attempt integer NOT NULL,
    recorded_at timestamp with time zone NOT NULL
);

CREATE SEQUENCE first_fences
    START WITH 0
    INCREMENT BY 1000000000
    MINVALUE 0
    NO MAXVALUE
    CACHE 1;

CREATE TABLE functions (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE head (
    is_only boolean DEFAULT true NOT NULL,
    "position" bigint DEFAULT 0 NOT NULL,
    recorded_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    log_id uuid DEFAULT gen_random_uuid() NOT NULL,
    CONSTRAINT head_is_one_row CHECK (is_only)
)
WITH (fillfactor='10');

CREATE TABLE members (
    member uuid NOT NULL,
    name text NOT NULL,
    node uuid NOT NULL
);

CREATE TABLE migrations (
    number integer NOT NULL,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

CREATE TABLE outbox (
    process text NOT NULL,
    instance text NOT NULL COLLATE pg_catalog."C",
    number bigint NOT NULL,
    piece integer NOT NULL,
    command_id uuid NOT NULL,
    command_type text NOT NULL,
    command jsonb NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id uuid NOT NULL,
    parked text,
    timer text,
    hash bigint NOT NULL
);

ALTER TABLE outbox ALTER COLUMN number ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME outbox_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE parked (
    name text NOT NULL,
    "position" bigint NOT NULL,
    key text NOT NULL,
    error text,
    attempts integer NOT NULL,
    parked_at timestamp with time zone NOT NULL,
    asked text
);

CREATE TABLE process_instances (
    process text NOT NULL,
    instance text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    state jsonb,
    asked_to_stop boolean DEFAULT false NOT NULL
);

CREATE TABLE receipts (
    command_id uuid NOT NULL,
    digest bytea NOT NULL,
    stream text NOT NULL,
    first_version bigint NOT NULL,
    event_count integer NOT NULL,
    refusal jsonb,
    recorded_at timestamp with time zone NOT NULL
);

CREATE TABLE reports (
    name text NOT NULL,
    slot integer NOT NULL,
    state text NOT NULL,
    error text,
    parked_keys integer NOT NULL,
    rate real NOT NULL,
    woken_by text,
    reported_at timestamp with time zone NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE slots (
    name text NOT NULL,
    slot integer NOT NULL,
    "position" bigint NOT NULL,
    fence bigint NOT NULL,
    owner uuid,
    replayed_to bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');

CREATE TABLE snapshots (
    stream text NOT NULL COLLATE pg_catalog."C",
    version bigint NOT NULL,
    state_type text NOT NULL,
    state_version integer NOT NULL,
    state jsonb NOT NULL,
    taken_at timestamp with time zone NOT NULL
);

CREATE TABLE streams (
    stream text NOT NULL COLLATE pg_catalog."C",
    deleted_at timestamp with time zone NOT NULL
);

CREATE TABLE subscriptions (
    name text NOT NULL,
    definition jsonb NOT NULL,
    is_paused boolean DEFAULT false NOT NULL,
    is_held boolean DEFAULT false NOT NULL,
    level_at bigint,
    cut_fence bigint
);

CREATE VIEW subscription_lag AS
 SELECT s.name,
    s.slot,
    s."position",
    h."position" AS head,
    (h."position" - s."position") AS events_behind,
    (COALESCE(GREATEST(EXTRACT(epoch FROM (clock_timestamp() - e.recorded_at)), (0)::numeric), (0)::numeric))::double precision AS seconds_behind,
    (COALESCE(r.rate, (0)::real))::double precision AS rate,
    o.label AS owner,
        CASE
            WHEN u.is_paused THEN 'paused'::text
            WHEN (u.is_held AND (s."position" >= COALESCE(u.level_at, (0)::bigint))) THEN 'held'::text
            WHEN (o.member IS NULL) THEN 'unowned'::text
            ELSE COALESCE(r.state, 'running'::text)
        END AS state,
    r.error,
    COALESCE(r.parked_keys, 0) AS parked_keys,
    r.woken_by,
    r.reported_at
   FROM (((((slots s
     JOIN subscriptions u ON ((u.name = s.name)))
     CROSS JOIN head h)
     LEFT JOIN events e ON ((e."position" = (s."position" + 1))))
     LEFT JOIN ( SELECT m.member,
            m.name,
            b.label
           FROM (members m
             JOIN framework_nodes.heartbeats b ON ((b.node = m.node)))
          WHERE (b.beat_at > (clock_timestamp() - '00:00:06'::interval))) o ON (((o.member = s.owner) AND (o.name = s.name))))
     LEFT JOIN reports r ON (((r.name = s.name) AND (r.slot = s.slot))));

CREATE TABLE timers (
    process text NOT NULL,
    instance text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL,
    due_at timestamp with time zone NOT NULL,
    command_id uuid NOT NULL,
    command_type text NOT NULL,
    command jsonb NOT NULL,
    correlation_id uuid NOT NULL,
    causation_id uuid NOT NULL,
    hash bigint NOT NULL
);

ALTER TABLE ONLY command_audit
    ADD CONSTRAINT command_audit_pkey PRIMARY KEY (number);

ALTER TABLE ONLY events
    ADD CONSTRAINT events_event_id UNIQUE (event_id);

ALTER TABLE ONLY events
    ADD CONSTRAINT events_pkey PRIMARY KEY ("position");

ALTER TABLE ONLY events
    ADD CONSTRAINT events_stream_version UNIQUE (stream, version);

ALTER TABLE ONLY fences
    ADD CONSTRAINT fences_pkey PRIMARY KEY (batch);

ALTER TABLE ONLY functions
    ADD CONSTRAINT functions_pkey PRIMARY KEY (name);

ALTER TABLE ONLY head
    ADD CONSTRAINT head_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY members
    ADD CONSTRAINT members_pkey PRIMARY KEY (member, name);

ALTER TABLE ONLY migrations
    ADD CONSTRAINT migrations_pkey PRIMARY KEY (number);

ALTER TABLE ONLY outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (process, command_id);

ALTER TABLE ONLY parked
    ADD CONSTRAINT parked_pkey PRIMARY KEY (name, "position", key);

ALTER TABLE ONLY process_instances
    ADD CONSTRAINT process_instances_pkey PRIMARY KEY (process, instance);

ALTER TABLE ONLY receipts
    ADD CONSTRAINT receipts_pkey PRIMARY KEY (command_id);

ALTER TABLE ONLY reports
    ADD CONSTRAINT reports_pkey PRIMARY KEY (name, slot);

ALTER TABLE ONLY slots
    ADD CONSTRAINT slots_pkey PRIMARY KEY (name, slot);

ALTER TABLE ONLY snapshots
    ADD CONSTRAINT snapshots_pkey PRIMARY KEY (stream, state_type, state_version, version);

ALTER TABLE ONLY streams
    ADD CONSTRAINT streams_pkey PRIMARY KEY (stream);

ALTER TABLE ONLY subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (name);

ALTER TABLE ONLY timers
    ADD CONSTRAINT timers_pkey PRIMARY KEY (process, instance, key);

CREATE INDEX command_audit_asked ON command_audit USING btree (asked_at);

CREATE INDEX command_audit_command ON command_audit USING btree (command_id);

CREATE INDEX command_audit_correlation ON command_audit USING btree (correlation_id);

CREATE INDEX events_correlation ON events USING btree (correlation_id, "position");

CREATE INDEX events_event_type ON events USING btree (event_type, "position");

CREATE INDEX fences_recorded_at ON fences USING btree (recorded_at);

CREATE INDEX members_name ON members USING btree (name);

CREATE INDEX outbox_order ON outbox USING btree (process, number, piece);

CREATE INDEX outbox_parked ON outbox USING btree (process, instance, number, piece) WHERE (parked IS NOT NULL);

CREATE INDEX outbox_timer ON outbox USING btree (process, instance, timer) WHERE (timer IS NOT NULL);

CREATE INDEX process_instances_asked ON process_instances USING btree (process) WHERE asked_to_stop;

CREATE INDEX receipts_recorded_at ON receipts USING btree (recorded_at);

CREATE INDEX timers_due ON timers USING btree (process, due_at);

CREATE TRIGGER events_stay BEFORE DELETE OR UPDATE OR TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE events ENABLE ALWAYS TRIGGER events_stay;

CREATE TRIGGER tombstones_stay BEFORE DELETE OR UPDATE OR TRUNCATE ON streams FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE streams ENABLE ALWAYS TRIGGER tombstones_stay;
