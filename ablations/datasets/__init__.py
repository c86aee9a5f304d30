"""Datasets: evaluation queries, pools of demonstrations, and what is chosen from them."""
