//! The language: text to statement to operation, replies to text, errors with position.
