"""Keystead: a key management service and a secrets manager behind Tencent Cloud API 3.0."""
