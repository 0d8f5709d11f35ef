"""What the two customer-service environments share: tables, observations, arithmetic, people."""
