"""Safe norms of whole trees, and of trees whose leaves are split over devices."""
