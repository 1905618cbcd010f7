"""The application measured against its alternatives, on this machine. `make bench`; see docs/benchmarks."""
