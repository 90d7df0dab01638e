"""The tests: one folder per area, each a package, so that two files may have the same name."""
