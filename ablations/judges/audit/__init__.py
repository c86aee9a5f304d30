"""Audits: how often a judge prefers good answers to planted controls."""
