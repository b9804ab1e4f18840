"""Pure decisions of the node_agent: no clock, ids, randomness, asyncio or I/O."""
