"""Tests of the storefront in a browser."""
