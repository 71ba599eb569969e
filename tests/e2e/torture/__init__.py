"""Torture test: kill servers and processes while 32 clients order; afterwards all stores agree."""
