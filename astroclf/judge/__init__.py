"""What a trained model is worth: tables, figures and the report that is read the next morning."""
