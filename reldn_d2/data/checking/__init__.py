"""What is in a data set and what is wrong with it. It reads dicts that nothing vouches for, and reports instead of raising."""
