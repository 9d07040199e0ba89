"""What is kept of an exit's answers: labels, outputs, confidences and their calibration."""
