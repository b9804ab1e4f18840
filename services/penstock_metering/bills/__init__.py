"""What has a month come to, and who owes it?

Drafts while it is open; closing it issues documents and posts what they ask for. It does not know
how use is rated.
"""
