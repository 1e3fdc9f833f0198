//! Virtual nodes, layouts, placement, assignment, and the chain that changes them.
