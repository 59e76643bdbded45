"""HTTP in, HTTP out: front doors, signatures, dispatch and the response envelope."""
