"""Deployment files and dashboards."""
