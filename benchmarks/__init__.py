"""What `make bench` measures: figures, printed; no test depends on a time."""
