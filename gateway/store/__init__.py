"""What is on disk: the database, its migrations, and one narrow module of SQL per table. No other package writes
SQL."""
