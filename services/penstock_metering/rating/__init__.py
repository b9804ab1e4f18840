"""What does use cost?

The price book, and each lease divided into parts with a price, as the ledger comes to know of it.
It does not know bills.
"""
