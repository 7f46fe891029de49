"""The parts of ``gtloop report``: numbers, plots, pictures, and the page that holds them."""
