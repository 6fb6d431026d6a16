"""What is in the files of a data set, looked at once before anything is trained on it."""
