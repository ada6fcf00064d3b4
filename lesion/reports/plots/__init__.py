"""The pictures of a study: each a table function and a drawing function."""
