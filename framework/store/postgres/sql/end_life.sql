-- $1: a node. Forgets it.
DELETE FROM framework_nodes.heartbeats WHERE node = $1
