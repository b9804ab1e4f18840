"""Who may spend how much, and what is spent of it?

Budgets and prepaid credit are set here, and settled as use becomes known; the scheduler, which
reserves, is told. It does not know who may run.
"""
