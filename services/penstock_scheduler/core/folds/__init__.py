"""What does each kind of fact change in the state?

Parts of `fold`: ranks and attempts that begin, those that end, and nodes. What facts about money
and the queue change stands with these. They do not decide anything.
"""
