"""Pure decisions of the metering: no clock, ids, randomness, asyncio or I/O."""
