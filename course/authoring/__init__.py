"""Tools for the authors of the course: run its notebooks, store their outputs, check them."""
