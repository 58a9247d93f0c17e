"""What one agent framework loses or distorts, by its scope.

Whatever it writes like everybody else is read by structure.
"""
