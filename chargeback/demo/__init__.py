"""A small GPU cluster that is not there: what `chargeback demo` simulates, and how it runs it."""
