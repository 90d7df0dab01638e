"""The master's engine: processes that listen, watch, look in turn and run moves."""
