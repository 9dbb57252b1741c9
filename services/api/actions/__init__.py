"""What the api does inside its transactions, without HTTP: create, edit, execute, cancel."""
