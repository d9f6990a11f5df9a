-- The log, receipts, subscriptions, and what processes keep. Run with the schema as the whole search path.

CREATE TABLE head (
    is_only     boolean     NOT NULL DEFAULT true,
    position    bigint      NOT NULL DEFAULT 0,
    recorded_at timestamptz NOT NULL DEFAULT '-infinity',
    log_id      uuid        NOT NULL DEFAULT gen_random_uuid(),
    CONSTRAINT head_pkey PRIMARY KEY (is_only),
    CONSTRAINT head_is_one_row CHECK (is_only)
) WITH (fillfactor = 10);  -- room for the row's next versions on its own page: updates touch no index

INSERT INTO head DEFAULT VALUES;

CREATE TABLE events (
    position       bigint      NOT NULL,
    stream         text        COLLATE "C" NOT NULL,  -- by code point: compared fast, listed alike in every database
    version        bigint      NOT NULL,
    event_id       uuid        NOT NULL,
    event_type     text        NOT NULL,
    type_version   integer     NOT NULL,
    data           jsonb       NOT NULL,
    metadata       jsonb       NOT NULL,
    correlation_id uuid        NOT NULL,
    causation_id   uuid        NOT NULL,
    recorded_at    timestamptz NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (position),
    CONSTRAINT events_stream_version UNIQUE (stream, version),
    CONSTRAINT events_event_id UNIQUE (event_id)
);

CREATE INDEX events_event_type ON events (event_type, position);
CREATE INDEX events_correlation ON events (correlation_id, position);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: what is recorded stays recorded', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE events ENABLE ALWAYS TRIGGER events_stay;  -- whatever role in replication a session takes

-- Those that are deleted.
CREATE TABLE streams (
    stream     text        COLLATE "C" NOT NULL,
    deleted_at timestamptz NOT NULL,
    CONSTRAINT streams_pkey PRIMARY KEY (stream)
);

CREATE TRIGGER tombstones_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON streams
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE streams ENABLE ALWAYS TRIGGER tombstones_stay;

CREATE TABLE snapshots (
    stream        text        COLLATE "C" NOT NULL,
    version       bigint      NOT NULL,
    state_type    text        NOT NULL,
    state_version integer     NOT NULL,
    state         jsonb       NOT NULL,
    taken_at      timestamptz NOT NULL,
    CONSTRAINT snapshots_pkey PRIMARY KEY (stream, state_type, state_version, version)
);

CREATE TABLE receipts (
    command_id    uuid        NOT NULL,
    digest        bytea       NOT NULL,
    stream        text        NOT NULL,
    first_version bigint      NOT NULL,
    event_count   integer     NOT NULL,
    refusal       jsonb,
    recorded_at   timestamptz NOT NULL,
    CONSTRAINT receipts_pkey PRIMARY KEY (command_id)
);

CREATE INDEX receipts_recorded_at ON receipts (recorded_at);

-- A batch of appends that was sent again: what was lost of it before, and comes late, finds that it is of no use any more.
CREATE TABLE fences (
    batch       uuid        NOT NULL,
    attempt     integer     NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT fences_pkey PRIMARY KEY (batch)
);

CREATE INDEX fences_recorded_at ON fences (recorded_at);

CREATE TABLE subscriptions (
    name       text    NOT NULL,
    definition jsonb   NOT NULL,
    is_paused  boolean NOT NULL DEFAULT false,
    is_held    boolean NOT NULL DEFAULT false,  -- its slots, to be cut anew:
    level_at   bigint,                          -- there, once nobody runs them
    cut_fence  bigint,                          -- and drawn when all of them have come there
    CONSTRAINT subscriptions_pkey PRIMARY KEY (name)
);

-- Where the fences of a subscription's slots begin: a life of it that comes later has greater ones.
CREATE SEQUENCE first_fences INCREMENT BY 1000000000 START WITH 0 MINVALUE 0;

CREATE TABLE slots (
    name        text    NOT NULL,
    slot        integer NOT NULL,
    position    bigint  NOT NULL,
    fence       bigint  NOT NULL,
    owner       uuid,
    replayed_to bigint  NOT NULL DEFAULT 0,
    CONSTRAINT slots_pkey PRIMARY KEY (name, slot)
) WITH (fillfactor = 50);

CREATE TABLE parked (
    name      text        NOT NULL,
    position  bigint      NOT NULL,
    key       text        NOT NULL,
    error     text,
    attempts  integer     NOT NULL,
    parked_at timestamptz NOT NULL,
    asked     text,
    CONSTRAINT parked_pkey PRIMARY KEY (name, position, key)
);

-- Who can run which subscription. It lives while its node does.
CREATE TABLE members (
    member uuid NOT NULL,
    name   text NOT NULL,
    node   uuid NOT NULL,
    CONSTRAINT members_pkey PRIMARY KEY (member, name)
);

CREATE INDEX members_name ON members (name);

-- Of all schemas of the database: the processes that live, and how often slots of a schema were to be shared out anew.
DO $$
BEGIN
    IF to_regclass('framework_nodes.changes') IS NULL THEN
        CREATE SCHEMA IF NOT EXISTS framework_nodes;
        CREATE TABLE framework_nodes.heartbeats (
            node    uuid        NOT NULL,
            label   text        NOT NULL,
            beat_at timestamptz NOT NULL,
            CONSTRAINT heartbeats_pkey PRIMARY KEY (node)
        ) WITH (fillfactor = 50);
        CREATE TABLE framework_nodes.changes (
            schema text   COLLATE "C" NOT NULL,
            number bigint NOT NULL,
            CONSTRAINT changes_pkey PRIMARY KEY (schema)
        ) WITH (fillfactor = 50);
    END IF;
END
$$;

-- What the owner of each slot last said of it.
CREATE TABLE reports (
    name        text        NOT NULL,
    slot        integer     NOT NULL,
    state       text        NOT NULL,
    error       text,
    parked_keys integer     NOT NULL,
    rate        real        NOT NULL,
    woken_by    text,
    reported_at timestamptz NOT NULL,
    CONSTRAINT reports_pkey PRIMARY KEY (name, slot)
) WITH (fillfactor = 50);

-- To be read by people. A heartbeat lasts six seconds.
CREATE VIEW subscription_lag AS
SELECT s.name, s.slot, s.position, h.position AS head, h.position - s.position AS events_behind,
       coalesce(greatest(extract(epoch FROM clock_timestamp() - e.recorded_at), 0), 0)::double precision AS seconds_behind,
       coalesce(r.rate, 0)::double precision AS rate, o.label AS owner,
       CASE WHEN u.is_paused THEN 'paused'
            WHEN u.is_held AND s.position >= coalesce(u.level_at, 0) THEN 'held'
            WHEN o.member IS NULL THEN 'unowned'
            ELSE coalesce(r.state, 'running') END AS state,
       r.error, coalesce(r.parked_keys, 0) AS parked_keys, r.woken_by, r.reported_at
  FROM slots AS s
  JOIN subscriptions AS u ON u.name = s.name
 CROSS JOIN head AS h
  LEFT JOIN events AS e ON e.position = s.position + 1
  LEFT JOIN (
           SELECT m.member, m.name, b.label
             FROM members AS m
             JOIN framework_nodes.heartbeats AS b ON b.node = m.node
            WHERE b.beat_at > clock_timestamp() - interval '6 seconds'
       ) AS o ON o.member = s.owner AND o.name = s.name
  LEFT JOIN reports AS r ON r.name = s.name AND r.slot = s.slot;

-- One without a state is finished.
CREATE TABLE process_instances (
    process       text    NOT NULL,
    instance      text    COLLATE "C" NOT NULL,
    version       bigint  NOT NULL,
    state         jsonb,
    asked_to_stop boolean NOT NULL DEFAULT false,
    CONSTRAINT process_instances_pkey PRIMARY KEY (process, instance)
);

CREATE INDEX process_instances_asked ON process_instances (process) WHERE asked_to_stop;

-- The rest of an instance's hash by the number of slots is its slot.
CREATE TABLE outbox (
    process        text    NOT NULL,
    instance       text    COLLATE "C" NOT NULL,
    number         bigint  GENERATED BY DEFAULT AS IDENTITY,
    piece          integer NOT NULL,
    command_id     uuid    NOT NULL,
    command_type   text    NOT NULL,
    command        jsonb   NOT NULL,
    correlation_id uuid    NOT NULL,
    causation_id   uuid    NOT NULL,
    parked         text,
    timer          text,
    hash           bigint  NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (process, command_id)
);

CREATE INDEX outbox_order ON outbox (process, number, piece);
CREATE INDEX outbox_parked ON outbox (process, instance, number, piece) WHERE parked IS NOT NULL;
CREATE INDEX outbox_timer ON outbox (process, instance, timer) WHERE timer IS NOT NULL;

CREATE TABLE timers (
    process        text        NOT NULL,
    instance       text        COLLATE "C" NOT NULL,
    key            text        NOT NULL,
    due_at         timestamptz NOT NULL,
    command_id     uuid        NOT NULL,
    command_type   text        NOT NULL,
    command        jsonb       NOT NULL,
    correlation_id uuid        NOT NULL,
    causation_id   uuid        NOT NULL,
    hash           bigint      NOT NULL,
    CONSTRAINT timers_pkey PRIMARY KEY (process, instance, key)
);

CREATE INDEX timers_due ON timers (process, due_at);

-- What was asked for, written down before it was decided; and what became of it, where that is known.
CREATE TABLE command_audit (
    number         bigint      GENERATED ALWAYS AS IDENTITY,
    asked_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    command_id     uuid        NOT NULL,
    correlation_id uuid        NOT NULL,
    causation_id   uuid,
    command_type   text        NOT NULL,
    data           jsonb       NOT NULL,
    metadata       jsonb       NOT NULL,
    answered_at    timestamptz,
    outcome        text,
    stream         text        COLLATE "C",
    version        bigint,
    error          text,
    reason         text,
    CONSTRAINT command_audit_pkey PRIMARY KEY (number)
);

CREATE INDEX command_audit_asked ON command_audit (asked_at);
CREATE INDEX command_audit_command ON command_audit (command_id);
CREATE INDEX command_audit_correlation ON command_audit (correlation_id);
