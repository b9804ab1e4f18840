"""Pure decisions of the scheduler: no clock, ids, randomness, asyncio or I/O."""
