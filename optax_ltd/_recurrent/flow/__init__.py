"""What the error signal does along time: Ω, records, reports and exponents."""
