"""The ground floor: norms, shards, layouts, leaves, dtypes and argument checks."""
