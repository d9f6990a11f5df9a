-- What a store at 0001_initial had recorded.
INSERT INTO events
       (position, stream, version, event_id, event_type, type_version, data, metadata, correlation_id, causation_id, recorded_at)
VALUES (1, 'account-1', 1, '00000000-0000-4000-8000-000000000001', 'opened', 1, '{"owner": "Ada"}', '{}',
        '00000000-0000-4000-8000-00000000000c', '00000000-0000-4000-8000-00000000000d', '2026-01-01 12:00:00+00'),
       (2, 'account-2', 1, '00000000-0000-4000-8000-000000000002', 'opened', 1, '{}', '{}',
        '00000000-0000-4000-8000-00000000000c', '00000000-0000-4000-8000-00000000000d', '2026-01-01 12:00:00+00'),
       (3, 'account-1', 2, '00000000-0000-4000-8000-000000000003', 'closed', 2, '{"why": null}', '{"by": "Ada"}',
        '00000000-0000-4000-8000-00000000000c', '00000000-0000-4000-8000-000000000001', '2026-01-02 12:00:00.000001+00');

UPDATE head SET position = 3, recorded_at = '2026-01-02 12:00:00.000001+00', log_id = '00000000-0000-4000-8000-0000000000ff';

INSERT INTO streams (stream, deleted_at) VALUES ('account-2', '2026-01-02 12:00:00+00');

INSERT INTO snapshots (stream, version, state_type, state_version, state, taken_at)
VALUES ('account-1', 1, 'Account', 1, '{"balance": 0}', '2026-01-01 12:00:00+00');

INSERT INTO receipts (command_id, digest, stream, first_version, event_count, refusal, recorded_at)
VALUES ('00000000-0000-4000-8000-0000000000a1', '\x01', 'account-1', 1, 1, NULL, '2026-01-01 12:00:00+00'),
       ('00000000-0000-4000-8000-0000000000a2', '\x02', 'account-1', 3, 0, '{"type": "Closed"}', '2026-01-02 12:00:00+00');

INSERT INTO subscriptions (name, definition)
VALUES ('mail', '{"types": ["opened"], "partitions": 1, "partition_by": "stream"}');

INSERT INTO slots (name, slot, position, fence, owner) VALUES ('mail', 0, 3, 7, '00000000-0000-4000-8000-0000000000d1');

INSERT INTO members (member, name, node)
VALUES ('00000000-0000-4000-8000-0000000000d1', 'mail', '00000000-0000-4000-8000-0000000000d2');

INSERT INTO process_instances (process, instance, version, state) VALUES ('transfer', 't', 2, '{"step": 1}');

INSERT INTO outbox (process, instance, piece, command_id, command_type, command, correlation_id, causation_id, parked,
                    hash)
VALUES ('transfer', 't', 0, '00000000-0000-4000-8000-0000000000b1', 'Deposit', '{"amount": 1}',
        '00000000-0000-4000-8000-00000000000c', '00000000-0000-4000-8000-000000000001', NULL, 2238339752),
       ('transfer', 'u', 0, '00000000-0000-4000-8000-0000000000b2', 'Deposit', '{"amount": 2}',
        '00000000-0000-4000-8000-00000000000c', '00000000-0000-4000-8000-000000000002', 'no such account', 4066508878);
