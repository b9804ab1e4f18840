"""How do processes of the mesh speak? Through a narrow bus `port` with two adapters of one meaning:
`nats` (the real broker) and `memory` (an in-process twin with faults). It knows no message."""
