"""What passes from parent to child."""
