"""Who was heard when, and who answers: the witnesses of a silent node."""
