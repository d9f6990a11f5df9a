-- $1: a node nobody has heard of; $2: what people call it. Says for the first time that it lives.
INSERT INTO framework_nodes.heartbeats (node, label, beat_at) VALUES ($1, $2, clock_timestamp())
