"""How people see pairs and how their labels come back."""
