"""The grader under test: honest and hostile submissions."""
