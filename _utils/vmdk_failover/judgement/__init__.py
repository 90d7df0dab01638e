"""Judgement: pure functions over frozen values, without clock, I/O, log or chance."""
