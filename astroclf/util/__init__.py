"""What every room may use: whole files, downloads, progress, logs, threads, words, tables, pages and pictures."""
