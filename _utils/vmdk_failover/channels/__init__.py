"""How the processes of one master tell each other what they saw and did."""
