"""How this system connects to addresses that users name: which are allowed, and how an answer is bounded."""
