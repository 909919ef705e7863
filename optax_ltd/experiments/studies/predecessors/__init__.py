"""The older answers to long dependencies, side by side with clip and Ω."""
