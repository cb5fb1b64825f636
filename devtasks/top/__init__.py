"""`inv top`: look again and again (`frames`), and show each look in place or line by line (`screen`)."""
