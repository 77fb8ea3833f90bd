"""A model file without a package: the package is made in memory, from the file and a task."""
