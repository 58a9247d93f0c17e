"""Agents as any team would write them. Nothing in the folders of frameworks and tasks imports Spanloop."""
