"""What the rest of the system must be told: triggers after a change, units at a boot, masks, and the guard."""
