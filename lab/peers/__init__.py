"""Other products on the lab's nodes, struck by the same faults as this one."""
