"""A study as one page that opens in a browser, offline."""
