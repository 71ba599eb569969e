"""For those who write the course: running its notebooks, and checking them."""
