"""What do the benchmarks share? A fresh mesh, a load, a stamp, and the costs of processes."""
