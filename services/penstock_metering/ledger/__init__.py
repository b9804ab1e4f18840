"""How is what the streams say kept?

One transaction writes a batch into the tables, under the fence of whoever may write. What follows
from it is derived elsewhere.
"""
