"""What does a run of the tests say that found no PostgreSQL?"""

ABSENT = (
    "PostgreSQL is not installed here: the ledger was tested on SQLite alone "
    "(Debian: apt-get install postgresql)"
)
