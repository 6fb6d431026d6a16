"""All formats of foreign encoders that are tested."""

import foreign_others
import foreign_timm

BUILDERS = foreign_timm.BUILDERS | foreign_others.BUILDERS
"""What it is -> a function that writes it into a folder and returns its Case."""
