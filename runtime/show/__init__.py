"""What a person sees: the terminal, pictures, the dashboard in a browser."""
