"""How do charges, events of use and traces reach other systems?

Apart from ingest, which waits for none of them. It does not know what is done with them there.
"""
