"""HTTP: decode, call one function, encode. No money is worked out here."""
