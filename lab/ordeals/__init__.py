"""The random campaign: seeded stories of faults, a witness, a verdict, and a page about it all."""
