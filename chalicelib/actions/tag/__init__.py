"""Tag, version 2018-08-13."""
