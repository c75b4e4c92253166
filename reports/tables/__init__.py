"""What tables say, apart from how they are drawn."""
