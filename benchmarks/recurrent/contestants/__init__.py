"""What the recurrent benchmarks measure: training steps of ours and of our peers."""
