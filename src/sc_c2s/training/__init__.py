"""Training rows, supervised fine-tuning, and the choices made on validation cells."""
