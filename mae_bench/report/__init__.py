"""Floor 4: results in, tables out; pandas, never torch."""
