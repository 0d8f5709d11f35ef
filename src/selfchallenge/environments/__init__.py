"""Where it happens: environments, their tools and their seeded states."""
