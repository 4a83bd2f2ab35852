"""Cell sentences as pure arrays and text; knows neither AnnData nor torch."""
