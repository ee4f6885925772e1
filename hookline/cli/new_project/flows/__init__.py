"""Flow functions, one file a business process. Put your own beside these."""
