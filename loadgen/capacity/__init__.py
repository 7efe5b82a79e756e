"""How large a region's clusters must be, from measured unit costs: formulas, limits, and their proof."""
