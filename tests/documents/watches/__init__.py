"""What is watched while a page plays, where the page claims more than its output shows."""
