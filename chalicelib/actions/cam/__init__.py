"""Cloud Access Management, version 2019-01-16."""
