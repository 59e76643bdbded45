"""CloudAudit, version 2019-03-19."""
