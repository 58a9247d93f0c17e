"""What one platform's own SDK loses or distorts, by its scope.

Whatever it writes like everybody else is read by structure.
"""
