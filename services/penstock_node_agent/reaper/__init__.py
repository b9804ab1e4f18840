"""Who starts a node's processes, and how did each of them end?

One small process per node, apart from the agent so that the agent may die, restart and be upgraded
while work runs: it spawns, waits, writes each ending durably before telling it, enforces time limit
and lease on CLOCK_BOOTTIME, and kills what a finished attempt leaves behind. Standard library only:
the agent packs these files into `<state-dir>/reaper.pyz` and runs that copy, so that an upgrade
never changes a running reaper. It does not know jobs, devices or the network.
"""
