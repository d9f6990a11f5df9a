-- $1: a node; $2: the subscriptions it can run; $3: what people call it. Says that it lives.
INSERT INTO heartbeats (node, names, label, beat_at) VALUES ($1, $2, $3, clock_timestamp())
    ON CONFLICT ON CONSTRAINT heartbeats_pkey
    DO UPDATE SET names = excluded.names, label = excluded.label, beat_at = excluded.beat_at
