"""Networks that resport has no builder for: handed over by the user, compared by the end points they share."""
