"""What to practise next, and exam plans: pedagogy, no machine learning."""
