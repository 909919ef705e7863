"""The cliff: the loss of one recurrent unit, and descents thrown off it."""
