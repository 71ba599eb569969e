"""The grader, graded: what students hand in, and what nobody should."""
