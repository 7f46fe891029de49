"""Plugins that are broken in exactly one way; ``broken.table.TABLE`` has the check that names each fault."""
