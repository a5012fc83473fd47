"""The op table: every op on many dtypes, shapes and views, held against the numpy reference on any backend."""
