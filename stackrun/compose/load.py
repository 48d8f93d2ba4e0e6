"""From a StackSource to a Project: the phases in their order, faults gathered on the way."""
