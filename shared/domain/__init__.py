"""Pure rules: no I/O, no clock. Functions take the time as a parameter."""
