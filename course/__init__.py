"""What instructors and authors use: authoring, grading, and the data of the graded project."""
