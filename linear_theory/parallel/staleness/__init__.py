"""Parallel deflation with stale predecessors."""
