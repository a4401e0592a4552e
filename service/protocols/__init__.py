"""The protocols, a file each: they translate, and leave everything else to the core."""
