"""Pure decisions of the inventory: no clock, ids, randomness, asyncio or I/O."""
