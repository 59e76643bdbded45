"""The Encryption SDK inside what applications store their data in: `files`, `s3` and `sqlalchemy`. See docs/integrations.md."""
