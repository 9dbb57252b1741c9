"""The bodies of requests and answers. Apart from events and tables: they are converted once, here at the edge."""
