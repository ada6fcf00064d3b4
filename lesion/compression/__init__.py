"""What weights become that are made sparse, put into few bits or factored, and what that costs."""
