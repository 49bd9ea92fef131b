"""Tables in columns: Parquet and Arrow files, and folders of them."""
