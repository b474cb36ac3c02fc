"""From holdings to lines: one card's time, cut, weighed, priced."""
