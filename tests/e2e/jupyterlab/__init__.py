"""Tests of the notebooks where students run them: in JupyterLab, in a browser."""
