"""Pure rules and state machines: no I/O, no clock, no environment."""
