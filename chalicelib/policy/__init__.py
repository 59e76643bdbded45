"""The CAM policy language, version 2.0: parse, match, decide, explain. Pure: no I/O, no clock, no environment.

Source of the language: the product's CAM chapters on policy syntax, resources and conditions.
"""
