"""Security Token Service, version 2018-08-13."""
