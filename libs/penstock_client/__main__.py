"""What does `python -m penstock_client` do? The same as `penstock`."""

from penstock_client.cli import main

main()
