"""Who gets a component: scores, schedules, and the choice among all of them."""
