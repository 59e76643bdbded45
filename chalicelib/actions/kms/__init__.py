"""Key Management Service, version 2019-01-18."""
