"""How the shop shows itself: on the command line and in notebooks."""
