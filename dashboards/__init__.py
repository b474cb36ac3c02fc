"""What ships beside the program: the Grafana dashboard (built here, checked in as JSON) and the alert rules."""
